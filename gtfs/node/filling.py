# SPDX-License-Identifier: GPL-3.0-or-later
"""An existing clone is a seed: packs that are here already are written into reels, so that the swarm fetches only the
rest (design.md §4). Blocking; any thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gtfs.ids import ObjectId
from gtfs.node.state import State
from gtfs.reel.index import PackRow, ReelRow
from gtfs.reel.openreel import file_chunks
from gtfs.reel.table import Row

_COPY_BYTES = 1 << 20


def _place(state: State, row: PackRow | None, wanted: Row, reel: ReelRow) -> tuple[Path, int] | None:
    """Where a pack of the table lies whole on this disk, outside the reel itself."""
    if row is None or row.digest != wanted.digest or row.offset is None or row.reel == reel.id:
        return None
    if row.reel is None:
        return state.open_reel_path, row.offset
    other = state.index.reel(row.reel)
    return (state.reel_path(other.name), row.offset) if other is not None and other.state == "complete" else None


def fill_reel(state: State, reel: ReelRow, packs: Sequence[Row], offsets: Sequence[int], end: bytes) -> int:
    """Write what is here of a reel, and ``end`` (its table and footer), to its offsets; gives the bytes of packs.

    What is written are bytes that the table promises; whoever hashes the file next finds the pieces whole.
    """
    known = state.index.get_many(p.oid for p in packs)
    here = [
        (offset, pack.length, place)
        for pack, offset in zip(packs, offsets, strict=True)
        if (place := _place(state, known.get(pack.oid), pack, reel)) is not None
    ]
    if not here:
        return 0
    fd = os.open(state.reel_path(reel.name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.ftruncate(fd, reel.size)
        for at, length, (path, offset) in here:
            for chunk in file_chunks(path, offset, length)():
                at += os.pwrite(fd, chunk, at)
        os.pwrite(fd, end, reel.size - len(end))
        os.fsync(fd)
    finally:
        os.close(fd)
    return sum(length for _, length, _ in here)


def move_into(state: State, reel: ReelRow, packs: Sequence[Row], offsets: Sequence[int]) -> None:
    """Let the index point into a reel that is whole now for the packs that lay in the open reel until then."""
    known = state.index.get_many(p.oid for p in packs)
    places: list[tuple[ObjectId, int]] = []
    for pack, offset in zip(packs, offsets, strict=True):
        row = known.get(pack.oid)
        if row is not None and row.reel is None and row.digest == pack.digest:
            places.append((pack.oid, offset))
    state.index.move_to_reel(reel.id, places)
    state.empty_open_reel()
