# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packs of the open reel a publish seals, and their reels (design.md §4). Synchronous, under the node's lock."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence

from gtfs.catalogue.accept import Held
from gtfs.ids import ObjectId
from gtfs.pack.account import Needs
from gtfs.reel.index import ReelRow
from gtfs.reel.seal import write_reel
from gtfs.reel.sealable import Sealable
from gtfs.repo.beyond import read_bases
from gtfs.repo.history import Ref, commits_reachable, tags_reachable
from gtfs.state.state import State

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
    if not _reaches_open_reel(state, wanted):
        # Not new and in no reel: it is reached by no ref, or a reel was lost.
        wanted = reached(state, refs, ())
    return wanted


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
            index.packs.move_to_reel(reel_id, reel.places)
        row = index.reels.get(reel_id)
        assert row is not None
        sealed.append(row)
    return sealed
