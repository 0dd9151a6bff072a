# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs pack``: commit packs of any bare repository, without a node."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.cli.shape import Command, Place, takes_json


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.argument("oid", required=False)
@click.option("--all", "every", is_flag=True, help="Every commit and annotated tag reachable from any ref.")
@click.option("-o", "--output", type=Place(path_type=Path), help="Directory (--all) or file to write to.")
@click.option("--jobs", type=click.IntRange(1, 1024), help="Processes that encode (default: one for each core).")
@takes_json
def pack(repo: Path, oid: str | None, every: bool, output: Path | None, jobs: int | None, as_json: bool) -> int:
    """Write the commit pack of OID (a commit or tag of REPO, by any name that git knows) to standard output."""
    from gtfs.cli.work.pack import run

    return run(repo, oid, every, output, jobs, as_json=as_json)
