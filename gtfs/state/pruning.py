# SPDX-License-Identifier: GPL-3.0-or-later
"""What a publisher withdraws: packs of listed reels that no published ref reaches, and the reels without them (§4).

A pack is made from what its commit has and its parents lack, and its deltas stand on its parents' trees alone, so
what a commit needs is reached with it: the packs that stay keep their bytes. Mirrors make the new reels from what they
have; what they and this node let go of then is withdrawal.py. Synchronous, under the node's lock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gtfs.catalogue.document import Catalogue, ReelEntry
from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.reel.index import ReelRow
from gtfs.reel.table import Row, end_bytes, reel_size
from gtfs.repo.history import MISSING, add_kinds
from gtfs.state.sealing import bases_of, reached
from gtfs.state.state import State
from gtfs.trust.policy import effective_policy


class CannotPrune(GtfsError):
    """A reel cannot be made anew without what is to be withdrawn."""

    fault = Blame.SYSTEM


@dataclass(frozen=True)
class Pruning:
    """The reels that stay as they are (None), or with fewer packs, in the catalogue's order; counts of what goes.

    It is falsy where nothing does.
    """

    reels: Sequence[tuple[ReelRow, Sequence[Row] | None]]
    packs: int
    size: int  # bytes of these packs
    new_size: int  # of the reels that are made anew
    new_tables: int  # bytes of their tables, which mirrors fetch
    kept_refs: Sequence[bytes]  # refs for which mirrors keep some of it all the same

    def __bool__(self) -> bool:
        return self.packs > 0

    def describe(self) -> dict[str, Any]:
        """As ``gtfs publish --dry-run`` shows it."""
        changed = [packs for _, packs in self.reels if packs is not None]
        return {
            "packs": self.packs,
            "bytes": self.size,
            "reels": len(changed),
            "new_reels": sum(bool(packs) for packs in changed),
            "new_reel_bytes": self.new_size,
            "table_bytes": self.new_tables,
            "kept_refs": [name.decode("utf-8", "replace") for name in self.kept_refs],
        }


def plan_pruning(state: State, refs: Mapping[bytes, ObjectId], fresh: Sequence[ReelRow] = ()) -> Pruning:
    """What is left of listed reels, and of ``fresh`` ones, if only what ``refs`` reach is. Raises `GitFailed`."""
    places = add_kinds(state.repository, refs)
    lost = [ref.name.decode("utf-8", "replace") for ref in places if ref.kind == MISSING]
    if lost:
        raise CannotPrune(f"git has lost what {lost[0]} names, so what it reaches is not known; nothing is withdrawn")
    return _plan(state, refs, reached(state, places, bases_of(state)).keys(), fresh)


def _plan(
    state: State, refs: Mapping[bytes, ObjectId], keep: Collection[ObjectId], fresh: Sequence[ReelRow]
) -> Pruning:
    named = () if state.held is None else state.held.catalogue.reels
    listed = [_whole(state, entry) for entry in named]
    reels: list[tuple[ReelRow, Sequence[Row] | None]] = []
    count = size = new_size = new_tables = 0
    gone: set[ObjectId] = set()
    for reel in (*listed, *fresh):
        table = state.reel_files.table(reel)
        if table is None:
            raise CannotPrune(f"the table of reel {reel.name} cannot be read; run gtfs fsck {state.repository.path}")
        staying = [pack for pack in table.packs if pack.oid in keep]
        if len(staying) == len(table.packs):
            reels.append((reel, None))
            continue
        reels.append((reel, staying))
        gone.update(pack.oid for pack in table.packs if pack.oid not in keep)
        count += len(table.packs) - len(staying)
        size += sum(pack.length for pack in table.packs) - sum(pack.length for pack in staying)
        if staying:
            new_size += reel_size(staying, state.repository.fmt)
            new_tables += end_bytes(len(staying), state.repository.fmt)
    return Pruning(reels, count, size, new_size, new_tables, _kept_refs(state, refs, gone) if gone else ())


def _kept_refs(state: State, refs: Mapping[bytes, ObjectId], gone: Collection[ObjectId]) -> list[bytes]:
    """The refs that named some of it in a catalogue since the pruning before, and whose policy lets mirrors go on
    holding where they stood (withdrawal.py)."""
    policies, since = state.config.policies(), 0 if state.held is None else state.held.catalogue.pruned or 0
    named = {
        name
        for version in state.catalogues.versions()
        if version >= since
        for name, oid in state.catalogues.load(version).catalogue.refs.items()
        if oid in gone and refs.get(name) != oid
    }
    return sorted(n for n in named if not effective_policy(n, (), policies, has_keyring=True).non_fast_forward)


def _whole(state: State, entry: ReelEntry) -> ReelRow:
    """A listed reel as it is here: what cannot be looked into is not to leave the list by the way."""
    row = state.index.reels.by_name(entry.name)
    if row is None or not row.is_whole:
        raise CannotPrune(f"reel {entry.name} is not whole here: run gtfs fsck {state.repository.path}, or gtfs sync")
    return row


def prune_reels(state: State, new: Catalogue, pruning: Pruning) -> Catalogue:
    """``new`` with the reels that are left, made and known to the index; no pack has its place there yet.

    Raises `CannotPrune`, OSError.
    """
    entries: list[ReelEntry] = []
    for reel, packs in pruning.reels:
        if packs is None:
            entries.append(ReelEntry(reel.name, reel.infohash, reel.size, reel.rows))
        elif packs:
            made = state.reel_files.make(packs)
            if made is None:
                raise CannotPrune(f"reel {reel.name} is damaged: gtfs fsck {state.repository.path} tells more")
            state.index.reels.put(made.name, made.infohash, made.size, made.rows, 0, "complete")
            entries.append(ReelEntry(made.name, made.infohash, made.size, made.rows))
    return dataclasses.replace(new, reels=tuple(entries), pruned=new.version)
