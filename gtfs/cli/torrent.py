# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs torrent``: ``.torrent`` files for other clients; by the running node if there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gtfs.cli.ask import ask, by_node_or_here, place_at
from gtfs.cli.shape import Command, Place, takes_json
from gtfs.cli.terminal import bar, complain, say, say_json
from gtfs.counted import counted
from gtfs.errors import Blame
from gtfs.repo.place import BadRepository


@click.command(cls=Command)
@click.argument("repo", type=Place(path_type=Path))
@click.option("--out", required=True, type=Place(path_type=Path), help="The directory to write to.")
@click.option("--packs", is_flag=True, help="Those of every commit pack, too.")
@click.option("--tracker", "trackers", multiple=True, metavar="URL", help="Name this tracker, too; may be given again.")
@takes_json
def torrent(repo: Path, out: Path, packs: bool, trackers: tuple[str, ...], as_json: bool) -> int:
    """Write .torrent files of the reels of REPO, a bare repository or a mounted directory, for other clients."""
    if trackers:
        from gtfs.cli.nodeoptions import check_tracker
    for tracker in trackers:
        check_tracker(tracker, "--tracker")
    place = place_at(repo)
    request = {"do": "torrents", "out": str(out.absolute()), "packs": packs, "trackers": list(trackers)}
    with bar("hashing") as show:

        def tell(p: dict[str, Any]) -> None:
            show(p["packs"], p["packs_of"], f"{p['packs']} of {p['packs_of']} packs")

        def here() -> dict[str, Any]:
            from gtfs.cli.work.torrent import run

            show(0, 0, "")
            return run(place, out, packs, trackers, tell)

        done = by_node_or_here(lambda: ask(place, request, tell, lambda: show(0, 0, "")), here)
    if not (done["reels"] or done["packs"] or done["lacking"]):
        raise BadRepository(f"{repo} has no reels: a publisher's come with gtfs publish, a mirror's with gtfs sync")
    if as_json:
        say_json(done)
    else:
        say(f"{counted(done['reels'], 'reel')}, {counted(done['packs'], 'pack')}: {out}")
    if done["lacking"]:
        complain(f"the metadata of {counted(len(done['lacking']), 'reel')} has not come yet; gtfs sync fetches it")
        return Blame.NETWORK.exit_code
    return 0
