# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs rewind`` where no node runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.cli.work.feed import keep_feed
from gtfs.repo.repository import open_repository
from gtfs.state.rewind import rewind
from gtfs.state.state import State


def run(place: Path, version: int, *, withdrawn: bool) -> dict[str, Any]:
    """What is held then."""
    with State(open_repository(place)) as state:
        done = rewind(state, version, withdrawn=withdrawn)
        keep_feed(state, f"version {version} is held again")
        return done
