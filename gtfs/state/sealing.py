# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packs of the open reel a publish seals, and their reels (design.md §4). Synchronous, under the node's lock."""

from __future__ import annotations

import logging
from collections.abc import Collection, Container, Iterator, Sequence

from gtfs.catalogue.accept import Held
from gtfs.counted import counted
from gtfs.ids import ObjectId
from gtfs.pack.account import Needs
from gtfs.pack.format import CorruptPack
from gtfs.reel.index import PackRow, ReelRow
from gtfs.reel.openreel import file_chunks
from gtfs.reel.seal import write_reel
from gtfs.reel.sealable import Sealable
from gtfs.reel.table import CorruptReel
from gtfs.repo.beyond import read_bases
from gtfs.repo.history import Ref, commits_reachable, tags_reachable
from gtfs.state.state import State

log = logging.getLogger(__name__)

_ROWS = 2000  # asked from the index at once


def needs_of(state: State, held: Held | None, fresh: Sequence[ReelRow]) -> Needs:
    """What a mirror's limits must be at least: for what was listed so far, as none of it goes, and for new reels."""
    needs = Needs() if held is None else held.catalogue.needs
    for reel in fresh:
        for needed in state.index.needs.of_reel(reel.id).values():
            needs = needs.and_those_of(needed)
    return needs


def wanted_packs(state: State, refs: list[Ref]) -> dict[ObjectId, None]:
    """What the refs reach, as far as no listed reel has it."""
    listed = set() if state.held is None else set(state.held.catalogue.refs.values())
    listed |= bases_of(state)
    wanted = reached(state, [ref for ref in refs if ref.oid not in listed], listed)
    if left_behind(state) or not _reaches_open_reel(state, wanted):
        # Not new and in no reel: it is reached by no ref, or a reel was lost, or its catalogue was set aside.
        wanted = reached(state, refs, ())
    return wanted


def left_behind(state: State) -> list[ReelRow]:
    """Reels of catalogues that were set aside (`gtfs rewind`), in which packs lie: no listed one has had them since."""
    reels = state.index.reels
    return [r for r in reels.all() if r.version and r.is_whole and not state.lists(r.name) and reels.holds(r.id)]


def packs_behind(state: State, wanted: Container[ObjectId]) -> Iterator[tuple[ReelRow, list[PackRow]]]:
    """Those reels, each with what of ``wanted`` lies there and in no listed reel."""
    index, behind = state.index, left_behind(state)
    if not behind:
        return
    held = () if state.held is None else state.held.catalogue.reels
    listed = [row for entry in held if (row := index.reels.by_name(entry.name)) is not None]
    tables = [table for row in listed if (table := state.reel_files.table(row)) is not None]
    elsewhere = {each.oid for table in tables for each in table.packs}
    for reel in behind:
        yield reel, [r for r in index.packs.reel_rows(reel.id) if r.oid in wanted and r.oid not in elsewhere]


def take_back(state: State, wanted: Container[ObjectId]) -> bool:
    """Copy what of ``wanted`` lies in reels that were left behind to the open reel, so that it is sealed again.

    Whether some of it cannot be read there: that is forgotten, and to be encoded again. Raises OSError.
    """
    index, is_damaged = state.index, False
    for reel, packs in packs_behind(state, wanted):
        open_reel, path, damaged = state.open_reel(), state.layout.reel(reel.name), list[ObjectId]()
        for start in range(0, len(packs), _ROWS):
            places: list[tuple[ObjectId, int | None]] = []
            for pack in packs[start : start + _ROWS]:
                chunks = file_chunks(path, pack.offset or 0, pack.size)()
                try:
                    places.append((pack.oid, open_reel.append_chunks(chunks).offset))
                except (CorruptPack, CorruptReel, FileNotFoundError):
                    damaged.append(pack.oid)
            open_reel.sync()
            index.packs.move_to_open_reel(places, None)
        if damaged:
            log.warning(
                "%s, of a catalogue that was set aside, is damaged; encoded again: %s, that of %s first",
                path, counted(len(damaged), "pack"), damaged[0].hex(),
            )  # fmt: skip
            index.packs.drop(damaged)
            is_damaged = True
    return is_damaged


def bases_of(state: State) -> set[ObjectId]:
    """What a fork's commits stand on, which is nothing of its own (§12); of any other repository nothing."""
    return read_bases(state.repository) if state.config.is_fork() else set()


def _reaches_open_reel(state: State, wanted: Container[ObjectId]) -> bool:
    end = -1
    while packs := state.index.packs.sealable_after(end, _ROWS):
        if any(oid not in wanted for oid, *_ in packs):
            return False
        end = packs[-1][1]
    return True


def reached(state: State, refs: list[Ref], listed: Collection[ObjectId]) -> dict[ObjectId, None]:
    """The commits and tags that refs reach, without what the commits ``listed`` do. Raises `GitFailed`."""
    if not refs:
        return {}
    wanted = dict.fromkeys(commits_reachable(state.repository, {ref.oid for ref in refs}, listed))
    wanted.update(dict.fromkeys(tags_reachable(state.repository, refs)))
    return wanted


def seal(state: State, wanted: Container[ObjectId]) -> list[ReelRow]:
    """Seal the open reel's packs of ``wanted`` into reels, in canonical order, cut at 256 MiB."""
    index, fmt = state.index, state.repository.fmt
    sealed: list[ReelRow] = []
    for packs in Sealable(index, state.layout.open_reel, wanted, fmt.oid_bytes).reels():
        reel = write_reel(state.layout.reels, packs, fmt)
        with index.transaction():
            reel_id = index.reels.put(reel.name, reel.infohash, reel.size, reel.rows, 0, "complete")
            index.reels.set_stage([reel_id], "complete")  # it may have been known, and lost
            if not state.lists(reel.name):
                index.reels.set_version([reel_id], 0)  # or listed by what was set aside: it is to be listed again
            index.packs.move_to_reel(reel_id, reel.places)
        row = index.reels.get(reel_id)
        assert row is not None
        sealed.append(row)
    return sealed
