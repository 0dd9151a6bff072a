# SPDX-License-Identifier: GPL-3.0-or-later
"""Examined packs on their way into one git pack in which no object stands twice (design.md §3.9, §8.6).

One thread gathers. After `Batch.end` another may finish the file and hand it to git, while the first still reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.ids import ObjectFormat, ObjectId, PackDigest
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.examine import Examined
from gtfs.ingest.faults import Finding
from gtfs.ingest.recent import Contents
from gtfs.pack.decode import apply_found
from gtfs.pack.format import BLOB, HEADER, MAGIC, REF_DELTA, VERSION, entry_header
from gtfs.pack.limits import MIB
from gtfs.pack.scan import Entry, PackBytes, inflate
from gtfs.pack.trees import RawObject
from gtfs.trust.policy import Vouch

# Each batch costs git a process, and every base from another batch once more; while it is at work the next is made.
MAX_PACKS = 5000
MAX_EXPANDED = 512 * MIB  # bytes of the objects, which git goes through
MAX_PACKED = 64 * MIB
MAX_OBJECTS = 100_000  # some 400 bytes of memory each, of up to three batches
ENOUGH_PACKS = 1000  # rather than that git waits
ENOUGH_EXPANDED = 48 * MIB
FIRST_PACKS = 300  # where git has had nothing to do so far
FIRST_EXPANDED = 16 * MIB

_CHUNK: Final = 1 << 20
_BUFFER: Final = 1 << 17


class Member(NamedTuple):
    """What is kept of an examined pack until it is recorded."""

    candidate: Candidate
    oid: ObjectId
    kind: int
    time_s: int
    parents: tuple[ObjectId, ...]
    digest: PackDigest
    length: int
    vouch: Vouch
    findings: tuple[Finding, ...]
    accepted: frozenset[ObjectId]


class _Written(NamedTuple):
    """Where an object stands in the batch's file; ``base`` if as a delta."""

    kind: int
    at: int  # of its zlib stream
    length: int  # of that
    stream_size: int  # inflated
    size: int  # of the object
    base: ObjectId | None


class Batch:
    """Gathers examined packs; ``path`` becomes the git pack that `repo.unpack.unpack` takes.

    ``here``: those of some objects that git, or the batch before, has. ``is_first``: there is no batch before.
    """

    def __init__(
        self,
        path: Path,
        fmt: ObjectFormat,
        here: Callable[[Sequence[ObjectId]], Set[ObjectId]],
        *,
        is_first: bool = False,
    ) -> None:
        self.path = path
        self.members: list[Member] = []
        self.oids: set[ObjectId] = set()
        self.skipped: dict[ObjectId, list[ObjectId]] = {}  # what git, or the batch before, has, and the packs with it
        self.largest_bytes = 0  # of what git cannot pass through in pieces: deltas, and all but blobs
        self._fmt = fmt
        self._here = here
        self._is_first = is_first
        self._places: dict[ObjectId, _Written] = {}
        self._expanded = 0
        self._ended = False
        self._out = path.open("w+b", buffering=_BUFFER)
        self._length = 0  # of what was written
        self._write(HEADER.pack(MAGIC, VERSION, 0))
        self._in = path.open("rb", buffering=0)

    @property
    def is_full(self) -> bool:
        """Whether the next pack should go into another batch."""
        return (
            len(self.members) >= MAX_PACKS
            or len(self._places) >= MAX_OBJECTS
            or self._expanded >= MAX_EXPANDED
            or self._length >= MAX_PACKED
        )

    @property
    def is_enough(self) -> bool:
        """Whether it is worth a process of git's that has nothing to do."""
        if self._is_first:
            return len(self.members) >= FIRST_PACKS or self._expanded >= FIRST_EXPANDED
        return len(self.members) >= ENOUGH_PACKS or self._expanded >= ENOUGH_EXPANDED

    @property
    def is_promised(self) -> bool:
        """Whether a catalogue promises its packs: all of them, or none."""
        return bool(self.members) and self.members[0].candidate.promised is not None

    def suits(self, candidate: Candidate) -> bool:
        """Whether the pack is as promised as those before it: git judges all of a batch alike."""
        return not self.members or (candidate.promised is not None) == self.is_promised

    @property
    def has_objects(self) -> bool:
        """Whether there is anything that git does not have yet."""
        return bool(self._places)

    def among(self, oids: Iterable[ObjectId]) -> set[ObjectId]:
        """Those that came with a pack of this batch."""
        places, skipped = self._places, self.skipped
        return {oid for oid in oids if oid in places or oid in skipped}

    def add(self, candidate: Candidate, x: Examined, pack: PackBytes) -> None:
        """Add one pack, whose parents came before it; raises OSError."""
        view = memoryview(pack)
        places = self._places
        here = self._here([item.oid for item in x.decoded])
        by_offset: dict[int, ObjectId] | None = None
        start = stop = 0  # of entries that are wanted as they stand, one behind the other
        for oid, kind, size, _, entry in x.decoded:
            self._expanded += size
            if oid in places:
                continue
            if oid in here:
                self.skipped.setdefault(oid, []).append(x.oid)
                continue
            if entry.kind != BLOB and size > self.largest_bytes:
                self.largest_bytes = size
            offset, _, stream_size, base, base_offset, data, end, _ = entry
            if base_offset is not None:
                self._write(view[start:stop])
                start = stop = end
                # By its id, as a base may be left out here, or stand elsewhere.
                by_offset = by_offset or {item.entry.offset: item.oid for item in x.decoded}
                base = by_offset[base_offset]
                self._write(entry_header(REF_DELTA, stream_size) + base)
                places[oid] = _Written(kind, self._length, end - data, stream_size, size, base)
                self._write(view[data:end])
                continue
            if offset != stop:
                self._write(view[start:stop])
                start = offset
            stop = end
            places[oid] = _Written(kind, self._length + data - start, end - data, stream_size, size, base)
        self._write(view[start:stop])
        self.members.append(
            Member(
                candidate,
                x.oid,
                x.kind,
                x.time_s,
                x.parents,
                x.scan.digest,
                x.scan.length,
                x.vouch,
                x.findings,
                x.accepted,
            )
        )
        self.oids.add(x.oid)

    def _write(self, data: bytes | memoryview) -> None:
        self._length += self._out.write(data)

    def read(self, oid: ObjectId, most_bytes: int, lookup: Callable[[ObjectId], Contents | None]) -> Contents | None:
        """An object that was written, unless it is larger; its deltas may stand on what ``lookup`` gives."""
        if oid not in self._places:
            return None
        kind = self._places[oid].kind
        if not self._ended:
            self._out.flush()
        deltas: list[_Written] = []
        data: bytes | None = None
        base: ObjectId | None = oid
        while base is not None:
            place = self._places.get(base)
            if place is None:
                outside = lookup(base)
                if outside is None:
                    return None
                data = outside[1]
                break
            if place.size > most_bytes or len(deltas) == len(self._places):  # git will refuse what has no end
                return None
            deltas.append(place)
            base = place.base
        while deltas:
            place = deltas.pop()
            stream = os.pread(self._in.fileno(), place.length, place.at)
            entry = Entry(0, place.kind, place.stream_size, place.base, None, 0, len(stream), place.size)
            data = inflate(stream, entry) if data is None else apply_found(data, inflate(stream, entry), entry)
        assert data is not None
        return kind, data

    def over(self, oid: ObjectId, most_bytes: int) -> RawObject | None:
        """Kind and size of an object that was written, if it is larger than that."""
        place = self._places.get(oid)
        return None if place is None or place.size <= most_bytes else RawObject(place.kind, place.size, None)

    def end(self) -> None:
        """Nothing more will be added; raises OSError."""
        self._out.flush()
        self._ended = True

    def finish(self) -> None:
        """Write the count and the trailer; raises OSError."""
        out = self._out
        out.seek(0)
        out.write(HEADER.pack(MAGIC, VERSION, len(self._places)))
        out.flush()
        out.seek(0)
        trailer = self._fmt.new(b"")
        while piece := out.read(_CHUNK):
            trailer.update(piece)
        out.write(trailer.digest())
        out.close()

    def discard(self) -> None:
        """Remove the file, from which `read` still reads; nothing is added any more."""
        self._here = _nothing  # else each batch would keep the one before in memory
        self._out.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is read from it any more."""
        self.discard()
        self._in.close()


def _nothing(_oids: Sequence[ObjectId]) -> Set[ObjectId]:
    return frozenset()
