# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs umount``: unmount, and come back when the node has ended."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.cli.shape import Command, Place


@click.command(cls=Command)
@click.argument("directory", type=Place(path_type=Path))
@click.option("-l", "--lazy", is_flag=True, help="Detach now, end when the last file is closed.")
@click.option("--no-wait", is_flag=True, help="Unmount though packs that were written are still being taken in.")
def umount(directory: Path, lazy: bool, no_wait: bool) -> int:
    """Unmount DIRECTORY and wait until its node has saved everything and ended.

    Before, packs that were written are taken in, which can take a while after a large copy. With
    --no-wait they are kept, and the repository's next node takes them in: nothing is lost.
    """
    from gtfs.cli.work.umount import run

    return run(directory, lazy, no_wait=no_wait)
