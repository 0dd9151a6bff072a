# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs status`` where no node runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.repo.repository import open_repository
from gtfs.state.describe import describe_state
from gtfs.state.ring import RingWatch
from gtfs.state.state import State
from gtfs.state.worktrees import see_worktrees


def run(place: Path) -> dict[str, Any]:
    """The part of the status that is on this disk."""
    with State(open_repository(place), may_be_read_only=True) as state:
        watch = RingWatch()
        watch.look(state)
        found = describe_state(state, watch=watch)
        return {**found, "worktrees": [each.describe() for each in see_worktrees(state)]}
