# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs verify`` where no node runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gtfs.repo.repository import open_repository
from gtfs.state.explain import explain
from gtfs.state.state import State


def run(place: Path, words: Sequence[str]) -> dict[str, Any]:
    """What the node would answer."""
    with State(open_repository(place), may_be_read_only=True) as state:
        return explain(state, words)
