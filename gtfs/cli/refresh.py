# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs refresh``: sign that the held catalogue is still the newest; by the running node if there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gtfs.cli.ask import ask, by_node_or_here, place_at
from gtfs.cli.shape import Command, Place, takes_json
from gtfs.cli.terminal import say, say_json


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.option("--valid-days", type=click.IntRange(1, 60), default=30, help="For how long this counts (default 30).")
@click.option("--key", metavar="FPR", help="The key that signs it (default: the first that gtfs init named).")
@takes_json
def refresh(repo: Path, valid_days: int, key: str | None, as_json: bool) -> None:
    """Sign that the catalogue which REPO holds is still the newest, with the key that is for this alone.

    Nothing else is said by it, so the key may be online and this may be run by a timer. While more than half of the
    time is left, nothing is signed.
    """
    from gtfs.ids import parse_fingerprint

    fingerprint = None if key is None else parse_fingerprint(key)
    place = place_at(repo)

    def here() -> dict[str, Any]:
        from gtfs.cli.work.refresh import run

        return run(place, valid_days, fingerprint)

    done = by_node_or_here(lambda: ask(place, {"do": "refresh", "days": valid_days, "key": fingerprint}), here)
    if as_json:
        say_json(done)
        return
    new = "" if done["new"] else " (there was time enough left)"
    from gtfs.trust.stanza import write_time

    say(f"version {done['version']} counts until {write_time(done['valid_until'])}{new}")
    if done["new"]:
        say(f"file {done['file']}")
