# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs refresh`` where no node runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.ids import Fingerprint
from gtfs.repo.repository import open_repository
from gtfs.state.describe import describe_refreshed
from gtfs.state.feeddir import write_set_feed
from gtfs.state.freshness import refresh
from gtfs.state.state import State


def run(place: Path, days: int, key: Fingerprint | None) -> dict[str, Any]:
    """What was signed."""
    with State(open_repository(place)) as state:
        done = refresh(state, days, key)
        write_set_feed(state.layout, state.config)
        return describe_refreshed(state, done)
