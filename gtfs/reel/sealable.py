# SPDX-License-Identifier: GPL-3.0-or-later
"""The packs of the open reel that are to be sealed, in canonical order, a hundred bytes each: there may be a million.

Read some at a time, by their offsets, which are their numbers here. Not about bytes: seal.py writes them. One thread,
under the node's lock, as nothing may come to the open reel meanwhile.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Final, overload

from gtfs.ids import ObjectId, PackDigest
from gtfs.reel.index import Index
from gtfs.reel.openreel import file_chunks
from gtfs.reel.order import FINAL_REEL_BYTES, Pairs, cut, order_numbers
from gtfs.reel.seal import PackToSeal
from gtfs.reel.table import DIGEST_BYTES

_ROWS: Final = 2000  # asked from the index at once


class Sealable:
    """The verified packs of the open reel of which ``wanted`` has the ids."""

    def __init__(self, index: Index, file: Path, wanted: Container[ObjectId], oid_bytes: int) -> None:
        self._file = file
        self._oid_bytes = oid_bytes
        self._oids, self._digests = bytearray(), bytearray()
        self._offsets, self._sizes, self._times = array("q"), array("q"), array("q")
        end = -1
        while rows := index.packs.sealable_after(end, _ROWS):
            end = rows[-1][1]
            for oid, offset, size, digest, time_s in rows:
                if oid in wanted:
                    self._oids += oid
                    self._digests += digest
                    self._offsets.append(offset)
                    self._sizes.append(size)
                    self._times.append(time_s)
        self._pairs = self._read_pairs(index)

    def __len__(self) -> int:
        return len(self._offsets)

    def reels(self, limit_bytes: int = FINAL_REEL_BYTES) -> Iterator[Sequence[PackToSeal]]:
        """What goes into one reel after the other."""
        order = order_numbers(len(self), self._key, self._pairs)
        for group in cut(order, self._sizes.__getitem__, limit_bytes):
            yield _Group(self, array("I", group))

    def pack(self, number: int) -> PackToSeal:
        """The pack of this number."""
        size = self._sizes[number]
        at = number * DIGEST_BYTES
        digest = PackDigest(bytes(self._digests[at : at + DIGEST_BYTES]))
        return PackToSeal(self._oid(number), size, digest, file_chunks(self._file, self._offsets[number], size))

    def _oid(self, number: int) -> ObjectId:
        at = number * self._oid_bytes
        return ObjectId(bytes(self._oids[at : at + self._oid_bytes]))

    def _key(self, number: int) -> tuple[int, bytes]:
        return self._times[number], self._oid(number)

    def _number(self, offset: int) -> int | None:
        number = bisect_left(self._offsets, offset)
        return number if number < len(self) and self._offsets[number] == offset else None

    def _read_pairs(self, index: Index) -> Pairs:
        pairs = Pairs()
        for start in range(0, len(self), _ROWS):
            end = min(start + _ROWS, len(self)) - 1
            for parent_at, child_at in index.packs.open_parents(self._offsets[start], self._offsets[end]):
                parent, child = self._number(parent_at), self._number(child_at)
                if parent is not None and child is not None:
                    pairs.add(parent, child)
        return pairs


class _Group(Sequence[PackToSeal]):
    """Packs that are made as they are asked for."""

    def __init__(self, packs: Sealable, numbers: Sequence[int]) -> None:
        self._packs, self._numbers = packs, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> PackToSeal: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[PackToSeal]: ...

    def __getitem__(self, at: int | slice) -> PackToSeal | Sequence[PackToSeal]:
        if isinstance(at, slice):
            return _Group(self._packs, self._numbers[at])
        return self._packs.pack(self._numbers[at])
