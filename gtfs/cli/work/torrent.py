# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs torrent`` where no node runs: by one for this alone, without a swarm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.node.torrentfiles import hand_out
from gtfs.repo.repository import open_repository
from gtfs.state.control import Tell
from gtfs.state.state import State


def run(place: Path, out: Path, packs: bool, trackers: Sequence[str], tell: Tell) -> dict[str, Any]:
    """What was written."""

    async def work() -> dict[str, Any]:
        with State(open_repository(place)) as state:
            async with open_node(state, NodeOptions(offline=True)) as node:
                return await hand_out(state, node.packs, out, trackers, with_packs=packs, tell=tell)

    return trio.run(work)
