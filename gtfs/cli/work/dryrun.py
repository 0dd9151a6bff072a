# SPDX-License-Identifier: GPL-3.0-or-later
"""``--dry-run`` where no node runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.repo.repository import open_repository
from gtfs.state.dryrun import answer_dry_run
from gtfs.state.state import State


def run(place: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What the node would answer."""
    with State(open_repository(place), may_be_read_only=True) as state:
        return answer_dry_run(state, request)
