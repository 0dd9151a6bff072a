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


class Recent:
    """At most `MAX_BYTES` of them; those of the least recent use go."""

    def __init__(self) -> None:
        self._objects: OrderedDict[ObjectId, Contents] = OrderedDict()
        self._bytes = 0

    def get(self, oid: ObjectId) -> Contents | None:
        """Its contents, if they are still at hand."""
        found = self._objects.get(oid)
        if found is not None:
            self._objects.move_to_end(oid)
        return found

    def put(self, oid: ObjectId, contents: Contents) -> None:
        """Remember an object."""
        if oid in self._objects:
            self._objects.move_to_end(oid)
            return
        self._objects[oid] = contents
        self._bytes += ENTRY_BYTES + len(contents[1])
        self._shrink()

    def put_bases(self, decoded: Iterable[Decoded]) -> None:
        """Remember the objects of a pack on which deltas may stand."""
        objects = self._objects
        for oid, kind, size, data, _ in decoded:
            if data is None or (kind != TREE and kind != BLOB):
                continue
            if oid in objects:
                objects.move_to_end(oid)
            else:
                objects[oid] = kind, data
                self._bytes += ENTRY_BYTES + size
        self._shrink()

    def _shrink(self) -> None:
        while self._bytes > MAX_BYTES:
            self._bytes -= ENTRY_BYTES + len(self._objects.popitem(last=False)[1][1])

    def clear(self) -> None:
        """Forget everything: some of it may not have come in."""
        self._objects.clear()
        self._bytes = 0

    close = clear
