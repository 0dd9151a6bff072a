# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents of the objects that were let in last: what comes next is mostly made from them. One thread."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, TypeAlias

from gtfs.ids import ObjectId
from gtfs.pack.decode import Decoded
from gtfs.pack.format import BLOB, TREE
from gtfs.pack.limits import MIB

Contents: TypeAlias = tuple[int, bytes]  # kind, data

MAX_BYTES: Final = 32 * MIB
ENTRY_BYTES: Final = 256  # about, of what Python keeps for an object
_USED_PART: Final = 4  # of the room: the share with which git is asked least (facts.md)


class Recent:
    """At most `MAX_BYTES` of them. One version of a file or directory is mostly made of the one before, once: those of
    which something was made already have a part of the room. In both parts those of the least recent use go.
    """

    def __init__(self) -> None:
        self._unused: OrderedDict[ObjectId, Contents] = OrderedDict()
        self._used: OrderedDict[ObjectId, Contents] = OrderedDict()  # by a delta
        self._bytes = 0  # of both
        self._used_bytes = 0

    def get(self, oid: ObjectId) -> Contents | None:
        """Its contents, if they are still at hand."""
        for objects in (self._unused, self._used):
            found = objects.get(oid)
            if found is not None:
                objects.move_to_end(oid)
                return found
        return None

    def put(self, oid: ObjectId, contents: Contents) -> None:
        """Remember an object that is being asked for."""
        if self.get(oid) is None:
            self._used[oid] = contents
            size = _size(contents)
            self._bytes += size
            self._used_bytes += size
            self._shrink()

    def put_bases(self, decoded: Iterable[Decoded]) -> None:
        """Remember the objects of a pack on which deltas may stand."""
        unused, used = self._unused, self._used
        for oid, kind, size, data, entry in decoded:
            base = entry.base
            if base is not None and base in unused:
                used[base] = unused.pop(base)
                self._used_bytes += _size(used[base])
            if data is None or (kind != TREE and kind != BLOB):
                continue
            if oid in unused:
                unused.move_to_end(oid)
            elif oid not in used:
                unused[oid] = kind, data
                self._bytes += ENTRY_BYTES + size
        self._shrink()

    def _shrink(self) -> None:
        while self._bytes > MAX_BYTES:
            if self._used_bytes * _USED_PART > MAX_BYTES:
                size = _size(self._used.popitem(last=False)[1])
                self._used_bytes -= size
            else:
                size = _size(self._unused.popitem(last=False)[1])
            self._bytes -= size

    def clear(self) -> None:
        """Forget everything: some of it may not have come in."""
        self._unused.clear()
        self._used.clear()
        self._bytes = self._used_bytes = 0

    close = clear


def _size(contents: Contents) -> int:
    """In memory, about."""
    return ENTRY_BYTES + len(contents[1])
