# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs fsck``: whether a node's files, index, catalogue and git agree."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.cli.loading import loading
from gtfs.cli.shape import Command, Place, takes_dry_run, takes_json


@click.command(cls=Command)
@click.argument("targets", metavar="REPO", nargs=-1, type=Place(path_type=Path))
@click.option("--due", is_flag=True, help="Only read what was not for four weeks, and a day's part of the rest.")
@click.option("--rebuild", "again", is_flag=True, help="First make the index anew from the files; the old one is kept.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="REPO",
    help="Compare with another repository, too: its refs, its objects, and their bytes here.",
)
@takes_dry_run
@takes_json
def fsck(targets: tuple[Path, ...], due: bool, again: bool, against: Path | None, dry_run: bool, as_json: bool) -> int:
    """Check the node of REPO, which must not be mounted: every local byte, the index, the catalogue, git's objects,
    and that no pack lacks an object.

    With --due reels alone are read, those of every REPO, mounted or not; without one, those of the
    daemon. Run each day, that is each byte within four weeks.
    Ends with 0 when all is well and 1 when something was found.
    """
    if due:
        if again or against is not None or dry_run:
            raise click.UsageError("beside --due there may only be --json")
        from gtfs.cli.work.fsckdue import run_due

        return run_due(targets, as_json=as_json)
    if len(targets) != 1:
        raise click.UsageError("Missing argument 'REPO'." if not targets else "only --due takes several REPO")
    with loading():
        from gtfs.cli.work.fsck import run

    return run(targets[0], again, against, dry_run=dry_run, as_json=as_json)
