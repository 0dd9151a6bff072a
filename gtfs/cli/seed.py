# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs seed``: several nodes without a mount, in one process with one port, until it is told to end."""

from __future__ import annotations

import click

from gtfs.cli.shape import Command, Place, takes_options


@click.command(cls=Command)
@click.argument("repos", metavar="REPO...", nargs=-1, required=True, type=Place())
@takes_options
def seed(repos: tuple[str, ...], options: tuple[str, ...]) -> int:
    """Seed each REPO, and follow its feeds, from one process and one port until Ctrl-C or SIGTERM.

    REPO is the bare repository of a publisher or mirror, or any other SOURCE.
    """
    from gtfs.cli.work.seed import run

    return run(repos, options)
