# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs publish``: encode, seal and sign what the refs say now; by the running node if there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gtfs.cli.ask import ask, place_at
from gtfs.cli.shape import Command, Place
from gtfs.cli.terminal import INTERRUPTED, bar, complain, note_faults, say, size_text
from gtfs.errors import Blame

_NAMED = 20  # refs in one line


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.option("--force", is_flag=True, help="Sign a new catalogue though nothing has changed.")
@click.option("--jobs", type=click.IntRange(1, 1024), help="Processes that encode (default: one for each core).")
def publish(repo: Path, force: bool, jobs: int | None) -> int:
    """Publish what the refs of REPO say now, and print its version and the SOURCE strings that others can use.

    An attester's REPO publishes instead what it verified of the catalogue that it follows.
    A running node of REPO does the work, and seeds the new reels at once. None publishes unasked.
    """
    place = place_at(repo)
    with bar("encoding") as show:

        def tell(p: dict[str, Any]) -> None:
            if "phase" in p:
                show(0, 0, "", p["phase"])
            else:
                show(p["packs"], p["of"], f"{p['packs']} of {p['of']} packs, {size_text(p['bytes'])}")

        asked = {"do": "publish", "force": force, "jobs": jobs}
        done = ask(place, asked, tell, lambda: show(0, 0, ""))
        has_node = done is not None
        if done is None:
            from gtfs.cli.work.publish import run

            show(0, 0, "")
            done = run(place, force, jobs, tell)
    if done is None:
        complain("interrupted; what was encoded is kept, and gtfs publish goes on from there")
        return INTERRUPTED
    if "refs" in done:  # an attester's
        new = "" if done["new"] else " (nothing had changed)"
        say(f"attested {done['refs']} refs of version {done['version']} of {done['repository']}{new}")
        for source in done["sources"]:
            say(f"attester {source}")
        return 0
    _show(done)
    if not has_node:
        say(f"note: no node of {repo} runs, so nothing of it is seeded from here: gtfs seed {repo}, or gtfs mount")
    return Blame.SOURCE.exit_code if done["refs_held_back"] else 0


def _show(done: dict[str, Any]) -> None:
    total = sum(reel["size"] for reel in done["reels"])
    new = "" if done["new"] else " (nothing had changed)"
    reels = len(done["reels"])
    say(f"version {done['version']}{new}: {done['packs']} commit packs in {reels} reels, {size_text(total)}")
    for reel in done["reels"]:
        say(f"reel {reel['name']} infohash {reel['infohash']} {reel['size']} bytes {reel['packs']} packs")
    note_faults(done["faults"])
    for source in done["sources"]:
        say(f"source {source}")
    for left in done["refs_left_out"]:
        complain(_left_out(left))
    held_back: dict[str, list[str]] = {}
    for name, reason in done["refs_held_back"].items():
        held_back.setdefault(reason, []).append(name)
    for reason, names in held_back.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        complain(f"not published: {', '.join(names[:_NAMED])}{more}: {reason}")


def _left_out(left: dict[str, Any]) -> str:
    what = (
        left["first"] if left["count"] == 1 else f"{left['count']} refs below {left['below']}/, {left['first']} first"
    )
    dropped = f"; mirrors will DROP {left['dropped']} that the catalogue had so far" if left["dropped"] else ""
    return f"left out: {what}: {left['reason']}{dropped}"
