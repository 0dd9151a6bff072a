# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs umount``: unmount, and come back when the node has ended."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.cli.shape import Command, Place


@click.command(cls=Command)
@click.argument("directory", type=Place(path_type=Path))
@click.option("-l", "--lazy", is_flag=True, help="Detach now, end when the last file is closed.")
def umount(directory: Path, lazy: bool) -> int:
    """Unmount DIRECTORY and wait until its node has saved everything and ended."""
    from gtfs.cli.work.umount import run

    return run(directory, lazy)
