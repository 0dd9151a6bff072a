# SPDX-License-Identifier: GPL-3.0-or-later
"""Examined packs on their way into one git pack in which no object stands twice (design.md §3.9, §8.6). One thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.examine import Examined
from gtfs.ingest.keptobjects import KeptObjects
from gtfs.pack.format import BLOB, HEADER, MAGIC, OFS_DELTA, REF_DELTA, VERSION, entry_header
from gtfs.pack.limits import MIB
from gtfs.pack.scan import PackBytes

MAX_PACKS = 2000
MAX_EXPANDED = 96 * MIB  # bytes of decoded objects, kept because later packs of the batch may have them as base
MAX_PACKED = 64 * MIB

_CHUNK = 1 << 20


class Batch:
    """Gathers examined packs; ``path`` becomes the git pack that `repo.unpack.unpack` takes.

    What step 6 does not need is not kept with its ``members``: their entries and contents.
    """

    def __init__(self, path: Path, fmt: ObjectFormat, has: Callable[[ObjectId], bool]) -> None:
        self.path = path
        self.members: list[tuple[Candidate, Examined]] = []
        self.objects = KeptObjects(path.parent)
        self.oids: set[ObjectId] = set()
        self.skipped: dict[ObjectId, list[ObjectId]] = {}  # what git, or the batch before, has already: in which packs
        self.largest_bytes = 0  # of what git cannot pass through in pieces: deltas, and all but blobs
        self.holds_all = True  # False: some contents are not in ``objects``, and later packs find them only in git
        self._fmt = fmt
        self._has = has
        self._written: set[ObjectId] = set()
        self._expanded = 0
        self._out = path.open("w+b")
        self._out.write(HEADER.pack(MAGIC, VERSION, 0))

    @property
    def is_full(self) -> bool:
        """Whether the next pack should go into another batch."""
        return (
            len(self.members) >= MAX_PACKS
            or self._expanded >= MAX_EXPANDED
            or self._out.tell() >= MAX_PACKED
            or not self.holds_all
        )

    @property
    def is_promised(self) -> bool:
        """Whether a catalogue promises its packs: all of them, or none."""
        return bool(self.members) and self.members[0][0].promised is not None

    def suits(self, candidate: Candidate) -> bool:
        """Whether the pack is as promised as those before it: git judges all of a batch alike."""
        return not self.members or (candidate.promised is not None) == self.is_promised

    @property
    def has_objects(self) -> bool:
        """Whether there is anything that git does not have yet."""
        return bool(self._written)

    def add(self, candidate: Candidate, examined: Examined, pack: PackBytes) -> None:
        """Add one pack, whose parents came before it; raises OSError."""
        view = memoryview(pack)
        by_offset = {item.entry.offset: item.oid for item in examined.decoded}
        for item in examined.decoded:
            if item.data is not None:
                self.objects.put(item.oid, item.kind, item.data)
                self._expanded += item.size
            else:
                self.holds_all = False
            if item.oid in self._written:
                continue
            if self._has(item.oid):
                self.skipped.setdefault(item.oid, []).append(examined.oid)
                continue
            self._written.add(item.oid)
            entry = item.entry
            if entry.kind != BLOB:
                self.largest_bytes = max(self.largest_bytes, item.size)
            base = entry.base if entry.base_offset is None else by_offset[entry.base_offset]
            # By its id, as a base may be left out here, or stand elsewhere.
            kind = REF_DELTA if entry.kind == OFS_DELTA else entry.kind
            self._out.write(entry_header(kind, entry.size) + (base or b""))
            for at in range(entry.data, entry.end, _CHUNK):
                self._out.write(view[at : min(at + _CHUNK, entry.end)])
        scan = examined.scan._replace(entries=(), inflated={})
        self.members.append((candidate, examined._replace(scan=scan, decoded=[])))
        self.oids.add(examined.oid)

    def finish(self) -> None:
        """Write the count and the trailer; raises OSError."""
        out = self._out
        out.seek(0)
        out.write(HEADER.pack(MAGIC, VERSION, len(self._written)))
        out.flush()
        out.seek(0)
        trailer = self._fmt.new(b"")
        while piece := out.read(_CHUNK):
            trailer.update(piece)
        out.write(trailer.digest())
        out.close()

    def discard(self) -> None:
        """Close and remove the file."""
        self._out.close()
        self.path.unlink(missing_ok=True)
