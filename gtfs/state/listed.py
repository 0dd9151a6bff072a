# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the held catalogue names a pack: by what it lists now, and not by what one before it listed. Any thread."""

from __future__ import annotations

from gtfs.reel.index import PackRow
from gtfs.state.state import State


def is_listed(state: State, row: PackRow | None) -> bool:
    """Whether this pack lies in a reel of the held catalogue, whose table names its SHA-256.

    The index keeps the rows of retired reels, and of those that only a catalogue listed that was taken back.
    """
    held, reel = state.held, None if row is None or row.reel is None else state.index.reels.get(row.reel)
    return reel is not None and held is not None and any(entry.name == reel.name for entry in held.catalogue.reels)
