# SPDX-License-Identifier: GPL-3.0-or-later
"""A reel of the held catalogue from what is here already: made whole, or filled as far as that goes (design.md §4).

Of a reel that a newer catalogue has left out meanwhile nothing is made. Blocking; under the node's lock, in the thread
that writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from gtfs.reel.index import ReelRow
from gtfs.reel.table import Row
from gtfs.state.reelfiles import Table
from gtfs.state.repair import encode_into
from gtfs.state.state import State
from gtfs.state.turnover import adopt_whole

log = logging.getLogger(__name__)


def make_whole(state: State, row: ReelRow, packs: Sequence[Row]) -> bool:
    """Make it of its packs; False if that cannot be. The swarm must not have it. Raises OSError."""
    time_s = 0 if state.held is None else state.held.catalogue.date_s
    if not state.lists(row.name) or not state.reel_files.make_listed(row, packs, time_s):
        return False
    adopt_packs(state, row)
    log.info("reel %s was made from what is here, %d bytes", row.name, row.size)
    return True


def fill(state: State, row: ReelRow, table: Table, stop: Callable[[], bool]) -> int:
    """Write what is here of it to its place in the file; gives the bytes of packs. Raises OSError."""
    if not state.lists(row.name):  # any more: its file goes, or has gone
        return 0
    return state.reel_files.fill(row, table) + encode_into(state, row, table, stop)


def adopt_packs(state: State, row: ReelRow) -> None:
    """Let the index point into a reel that has become whole. Raises OSError."""
    adopt_whole(state.reel_files, None if state.held is None else state.held.catalogue, row)
    state.empty_open_reel()
