# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether nothing is missing in packs: each holds what its commit introduces.

Of a publisher's packs also whether mirrors take them, as those sealed by an older program may not.

A commit's objects are those of its pack and those of its parents' trees, which are in the parents' packs: so packs
that each hold what design.md §3.1 lists, and whose parents have packs, hold whole history. Synchronous; memory does not
grow with history.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from gtfs.ids import ObjectId
from gtfs.ingest.candidate import Candidate, Views
from gtfs.ingest.checkobjects import BadObject, check_pack
from gtfs.ingest.faults import Leniency
from gtfs.ingest.inside import Inside
from gtfs.pack.decode import Decoded, decode, reread
from gtfs.pack.format import BLOB, CorruptPack
from gtfs.pack.limits import Limits
from gtfs.pack.scan import scan
from gtfs.pack.trees import MissingObject, RawObject, Unencodable
from gtfs.pack.walk import Walker
from gtfs.reel.index import PackRow
from gtfs.repo.catfile import CatFile
from gtfs.state.acceptedfaults import accepted_faults
from gtfs.state.state import State

# What is here came in under limits that may have been others.
NO_LIMITS = Limits(**{field.name: 1 << 62 for field in dataclasses.fields(Limits)})

_SHOWN = 20  # packs; where one lacks something, thousands often do


def check_packs_complete(state: State, damaged: Collection[ObjectId], progress: Callable[[int], None]) -> Iterator[str]:
    """One line for each local pack that lacks an object, whose parents have no pack, or that no mirror takes.

    ``damaged`` ones are left out. ``progress`` hears of the bytes of packs that were looked at.
    """
    found = 0
    with CatFile(state.repository) as reader, Views(state.repository.state_directory) as views:
        check = _Proof(state, reader, views)
        for path, rows in _local_rows(state):
            for row in rows:
                is_to_check = row.oid not in damaged and row.stage == "unpacked"
                if is_to_check and (wrong := check.fault_of(row, path)) is not None:
                    found += 1
                    if found <= _SHOWN:
                        yield f"the pack of {row.oid.hex()} {wrong}"
                progress(row.size)
    if found > _SHOWN:
        yield f"{found - _SHOWN} more packs lack something or are taken by no mirror"


def _local_rows(state: State) -> Iterator[tuple[Path, list[PackRow]]]:
    for reel in state.index.reels.all():
        path = state.layout.reel(reel.name)
        if reel.is_whole and path.exists():  # what does not was said
            yield path, state.index.packs.reel_rows(reel.id)
    yield state.layout.open_reel, state.index.packs.open_rows()


class _Proof:
    """Compares packs with what git says that their commits introduce; fastest in history order."""

    def __init__(self, state: State, reader: CatFile, views: Views) -> None:
        self._state = state
        self._reader = reader
        self._views = views
        self._inside = Inside()
        self._walker = Walker(reader, state.repository.fmt)
        self._unencodable = state.index.unencodable.all()  # as in shallow and partial clones; status and publish say it
        self._borrows = state.config.is_fork()  # its parents' packs are another's; that git has them was seen above
        accepted = set() if state.held is None else set(state.held.catalogue.accepted_faults)
        self._accepted = accepted.union(accepted_faults(state.repository)) if state.config.sign_key() else None

    def fault_of(self, row: PackRow, path: Path) -> str | None:
        """What is wrong with the pack, which lies in ``path``, or None."""
        fmt = self._state.repository.fmt
        pack = self._views.bytes_of(Candidate(row.oid, path, row.offset or 0, row.size, row.digest, True))
        try:
            decoded = decode(pack, scan(pack, fmt, NO_LIMITS), fmt, NO_LIMITS, self._lookup)
            holds = {item.oid for item in decoded}
            introduced = self._walker.introduced_by(row.oid)
        except MissingObject as e:
            return None if self._has_gone(row) else f"stands on {e.oid.hex()}, which is missing in git"
        except (CorruptPack, Unencodable) as e:
            return None if self._has_gone(row) else f"cannot be checked: {e}"
        missing = [item.oid for item in introduced.objects if item.oid not in holds]
        if missing:
            more = f" and {len(missing) - 1} more" if missing[1:] else ""
            return f"is not complete: it lacks {missing[0].hex()}{more}"
        known = self._state.index.packs.known(introduced.parents)
        orphaned = [p for p in introduced.parents if p not in known and p not in self._unencodable]
        if orphaned and not self._borrows:
            return f"is of no use: there is no pack of its parent {orphaned[0].hex()}"
        if self._accepted is None or row.reel is None:  # what is not sealed yet, publish will say
            return None
        return self._refusal_of(row, pack, decoded, self._accepted)

    def _has_gone(self, row: PackRow) -> bool:
        """Whether a publisher's owner let git throw the commit away: a reel keeps its pack, whose bytes were read."""
        return self._accepted is not None and row.reel is not None and self._lookup(row.oid) is None

    def _refusal_of(
        self, row: PackRow, pack: memoryview, decoded: list[Decoded], accepted: Collection[ObjectId]
    ) -> str | None:
        """Why every mirror refuses the pack, or None."""
        own = reread(pack, decoded, self._lookup)

        def read(oid: ObjectId, most: int) -> RawObject | None:
            data = own(oid)
            if data is not None:
                return RawObject(BLOB, len(data), data)
            with suppress(MissingObject):
                return self._reader.read(oid, most)
            return None

        fmt, leniency = self._state.repository.fmt, Leniency(True, accepted)
        try:
            check_pack(row.oid, decoded, fmt, NO_LIMITS, read=read, inside=self._inside, leniency=leniency)
        except BadObject as e:
            return f"is refused by every mirror: {e.reason}; if it is meant: gtfs init --accept-fault {e.oid.hex()}"
        return None

    def _lookup(self, oid: ObjectId) -> tuple[int, bytes] | None:
        try:
            raw = self._reader.read(oid, 1 << 62)
        except MissingObject:
            return None
        return raw.kind, raw.data or b""
