# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs rewind``: back behind what a thief published; by the running node if there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gtfs.cli.ask import ask, by_node_or_here, foretell, place_at
from gtfs.cli.shape import Command, Place, takes_dry_run, takes_json
from gtfs.cli.terminal import say_json, show_rewound


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.argument("version", type=click.IntRange(min=1))
@click.option(
    "--withdrawn", is_flag=True, help="Go back behind a withdrawal, too: what it withdrew is listed and given again."
)
@takes_dry_run
@takes_json
def rewind(repo: Path, version: int, withdrawn: bool, dry_run: bool, as_json: bool) -> None:
    """Hold the accepted catalogue VERSION of REPO again, and set those above it aside.

    For when a thief of the publisher's key published them: ask the publisher first. No ref moves by this.
    The same catalogues are not taken again; others by the same key are, until its revocation is in the
    keyring (gtfs trust REPO add). A version that lists what was withdrawn since (gtfs publish --prune) is refused
    without --withdrawn, which is for when the thief withdrew it.
    """
    place = place_at(repo)
    request: dict[str, object] = {"do": "rewind", "version": version}
    if withdrawn:
        request["withdrawn"] = True

    def here() -> dict[str, Any]:
        from gtfs.cli.work.rewind import run

        return run(place, version, withdrawn=withdrawn)

    done = foretell(place, request) if dry_run else by_node_or_here(lambda: ask(place, request), here)
    if as_json:
        say_json(done)
        return
    show_rewound(done, dry_run=dry_run)
