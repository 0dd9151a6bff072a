# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs fsck``: whether a node's files, index, catalogue and git agree."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.cli.shape import Command, Place, takes_dry_run, takes_json


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.option("--rebuild", "again", is_flag=True, help="First make the index anew from the files; the old one is kept.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="REPO",
    help="Compare with another repository, too: its refs, its objects, and their bytes here.",
)
@takes_dry_run
@takes_json
def fsck(repo: Path, again: bool, against: Path | None, dry_run: bool, as_json: bool) -> int:
    """Check the node of REPO, which must not be mounted: every local byte, the index, the catalogue, git's objects,
    and that no pack lacks an object.

    Ends with 0 when all is well and 1 when something was found.
    """
    from gtfs.cli.work.fsck import run

    return run(repo, again, against, dry_run=dry_run, as_json=as_json)
