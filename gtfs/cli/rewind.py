# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs rewind``: back behind what a thief published; by the running node if there is one."""

from __future__ import annotations

from pathlib import Path

import click

from gtfs.cli.ask import ask, place_at
from gtfs.cli.shape import Command, Place
from gtfs.cli.terminal import say


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.argument("version", type=click.IntRange(min=1))
def rewind(repo: Path, version: int) -> None:
    """Hold the accepted catalogue VERSION of REPO again, and set those above it aside.

    For when a thief of the publisher's key published them: ask the publisher first. No ref moves by this.
    The same catalogues are not taken again; others by the same key are, until its revocation is in the
    keyring (gtfs trust REPO add).
    """
    place = place_at(repo)
    done = ask(place, {"do": "rewind", "version": version})
    if done is None:
        from gtfs.cli.work.rewind import run

        done = run(place, version)
    say(f"version {done['version']} is held again, digest {done['digest']}")
    for file in done["files"]:
        say(f"aside {file}")
