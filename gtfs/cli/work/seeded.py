# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher's repository is given to the daemon to seed, which systemd starts where it can and none runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gtfs.cli.work.unit import find_unit
from gtfs.daemon.asking import NoDaemon, ask_daemon, places_to_ask
from gtfs.daemon.places import Places, find_places


def have_seeded(path: Path) -> tuple[str, str | None]:
    """What the daemon calls it, from now on, and what is still to be typed for the daemon to last, if anything is.

    Raises `NoDaemon`, `NotStarted`, `NodeFailed`.
    """
    is_root = os.geteuid() == 0
    asked = places_to_ask(os.environ, is_root=is_root)
    try:
        return _add(asked, path), None
    except NoDaemon:
        own = find_places(os.environ, is_root=is_root)
        unit = find_unit(own, os.environ)
        if unit is None:
            raise NoDaemon(f"{path} is set up, but no daemon runs: start gtfs seed; gtfs seed add {path}") from None
        unit.enable()
        return _add([own], path), unit.lasts()


def _add(places: list[Places], path: Path) -> str:
    known: list[dict[str, Any]] = ask_daemon(places, {"do": "list"})["repositories"]
    found = next((item for item in known if Path(item["directory"]).resolve() == path.resolve()), None)
    if found is None:
        found = ask_daemon(places, {"do": "add", "source": str(path), "name": None, "options": []})
    return str(found["name"])
