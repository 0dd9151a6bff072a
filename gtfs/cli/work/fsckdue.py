# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs fsck --due``: what has not been read for long, by the running node if there is one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gtfs.cli.ask import ask, by_node_or_here, place_at
from gtfs.cli.terminal import bar, complain, os_error_text, say, say_json, size_text, stop_on_interrupt
from gtfs.cli.work.configured import configured
from gtfs.counted import counted
from gtfs.daemon.added import AddedRepositories
from gtfs.daemon.places import find_places
from gtfs.errors import Blame, GtfsError
from gtfs.repo.repository import open_repository
from gtfs.state.checkdue import check_due
from gtfs.state.control import ask_node
from gtfs.state.state import State


def run_due(repos: Sequence[Path], *, as_json: bool) -> int:
    """Check each, without one those of the daemon; one that cannot be is named, and stops nothing."""
    checked, code = [], 0
    due = list(repos) or _of_daemon()
    if not due:
        complain("there is nothing to check: no daemon runs, and gtfs.conf names no repository")
    for repo in due:
        try:
            found = _check(place_at(repo))
        except GtfsError as error:
            complain(str(error) if str(repo) in str(error) else f"{repo}: {error}")
            code = max(code, error.exit_code)
            continue
        except OSError as error:
            complain(f"{repo}: {os_error_text(error)}")
            code = max(code, Blame.SYSTEM.exit_code)
            continue
        checked.append({"repository": str(repo), **found})
        for name, wrong in found["damaged"].items():
            complain(f"{repo}: {wrong}" if name in wrong else f"{repo}: reel {name}: {wrong}")
        if not as_json:
            read = (
                f"{counted(found['reels'], 'reel')} read, {size_text(found['bytes'])} of {size_text(found['bytes_of'])}"
            )
            say(f"{repo}: {read}" + ("" if found["damaged"] else ", all well"))
    if as_json:
        say_json({"checked": checked})
    return 1 if any(found["damaged"] for found in checked) else code


def _check(place: Path) -> dict[str, Any]:
    with bar("checking") as show:

        def told(done: int, total: int) -> None:
            show(done, total, size_text(total))

        def here() -> dict[str, Any]:
            with State(open_repository(place), may_be_read_only=True) as state, stop_on_interrupt() as stop:
                return check_due(state, stop, told)

        return by_node_or_here(lambda: ask(place, {"do": "check"}, lambda p: told(p["bytes"], p["bytes_of"])), here)


def _of_daemon() -> list[Path]:
    """The repositories of the running daemon, else those of gtfs.conf and those that were added."""
    places = find_places(os.environ, is_root=os.geteuid() == 0)
    done = ask_node(places.runtime, {"do": "list"}, lambda _: None)
    if done is not None:
        return [Path(each["directory"]) for each in done["repositories"]]
    wanted = configured()[1].repositories
    added = AddedRepositories(places.added).all()
    return list(dict.fromkeys(each.directory for each in (*wanted, *added) if each.directory.exists()))
