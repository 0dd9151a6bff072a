# SPDX-License-Identifier: GPL-3.0-or-later
"""Reels that lie beside a catalogue file, on a disk that was carried here or in its publisher's repository: they are
taken from there, as they would be from a peer (design.md §12).

Blocking; under the node's lock. The swarm must not have them yet.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from gtfs.durable import replace_file, sync_directory, temporary_in
from gtfs.ids import REEL_SUFFIX
from gtfs.layout import Layout
from gtfs.metainfo import build_metainfo
from gtfs.reel.index import ReelRow
from gtfs.reel.seal import read_reel
from gtfs.reel.table import CorruptReel
from gtfs.state.state import State

log = logging.getLogger(__name__)

_CHUNK = 1 << 20


def places_beside(catalogue: Path) -> list[Path]:
    """The directories where the reels of a catalogue may lie that is this file, or in this directory."""
    directory = catalogue if catalogue.is_dir() else catalogue.parent
    return [directory, Layout(directory).reels, Layout(directory.parent).reels]  # the last: in a state directory


def take_nearby(state: State, places: list[Path], stop: Callable[[], bool] = lambda: False) -> int:
    """Copy the reels that are to be let in here from the first place that has them; gives how many that were.

    A file that is not the reel that the catalogue lists is passed over. Raises OSError for what cannot be written.
    """
    taken = 0
    for row in _lacking(state):
        for place in places:
            if stop():
                return taken
            if _take(state, row, place / (row.name + REEL_SUFFIX)):
                taken += 1
                break
    return taken


def _lacking(state: State) -> Iterator[ReelRow]:
    index = state.index
    for row in index.reels.all():
        known = row.is_whole or state.reel_files.table(row) is not None
        if not row.is_whole and not (known and not index.reels.holds_any(row.id, ("remote", "waiting", "verified"))):
            yield row


def _take(state: State, row: ReelRow, path: Path) -> bool:
    """Whether this file was the reel."""
    try:
        if path.stat().st_size != row.size:
            return False
        foot, packs = read_reel(path, state.repository.fmt)
        metainfo, infohash = build_metainfo(path)
    except FileNotFoundError:
        return False
    except (CorruptReel, OSError) as e:
        log.error("%s is passed over: %s", path, e)
        return False
    if (foot.name, foot.rows, infohash) != (row.name, row.rows, row.infohash):
        log.error("%s is passed over: it is not the reel that the catalogue lists", path)
        return False
    layout = state.layout
    layout.resume(row.name).unlink(missing_ok=True)
    fd, unfinished = temporary_in(layout.reels)
    try:
        with path.open("rb") as source, os.fdopen(fd, "wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
            target.flush()
            os.fsync(target.fileno())
        unfinished.replace(layout.reel(row.name))
    finally:
        unfinished.unlink(missing_ok=True)
    sync_directory(layout.reels)
    replace_file(layout.metainfo(row.name), metainfo)
    with state.index.transaction():
        state.reel_files.keep_table(row, packs, 0 if state.held is None else state.held.catalogue.date_s)
        state.index.reels.set_stage([row.id], "complete")
    return True
