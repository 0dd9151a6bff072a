# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs mount``, and what mount(8) runs."""

from __future__ import annotations

import click

from gtfs.cli.loading import loading
from gtfs.cli.shape import Command, Place, takes_options


@click.command(cls=Command)
@click.argument("source", type=Place())
@click.argument("directory", type=Place())
@takes_options
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground.")
@click.option("-s", "sloppy", is_flag=True, hidden=True, help="For mount(8).")
@click.option("-n", "no_mtab", is_flag=True, hidden=True, help="For mount(8).")
@click.option("-r", "read_only", is_flag=True, hidden=True, help="For mount(8).")
@click.option("-w", "read_write", is_flag=True, hidden=True, help="For mount(8).")
@click.option("-v", "verbose", is_flag=True, hidden=True, help="For mount(8).")
@click.option("-t", "kind", hidden=True, help="For mount(8).")
def mount(
    source: str, directory: str, options: tuple[str, ...], foreground: bool, read_only: bool, **_for_mount8: object
) -> int:
    """Show SOURCE as a directory of commit packs on DIRECTORY.

    SOURCE is a bare repository, or the catalogue (file or URL) of somebody else's, which makes this a mirror.
    """
    with loading():
        from gtfs.cli.work.mount import run

    return run(source, directory, [*options, *(["ro"] if read_only else [])], foreground)
