# SPDX-License-Identifier: GPL-3.0-or-later
"""The packs of the open reel that are to be sealed, in canonical order, a hundred bytes each: there may be a million.

Read some at a time, by their offsets. Not about bytes: seal.py writes them. One thread,
under the node's lock, as nothing may come to the open reel meanwhile.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, overload

from gtfs.ids import ObjectId, PackDigest
from gtfs.reel.index import Index
from gtfs.reel.numbered import Numbered
from gtfs.reel.openreel import ReelReader
from gtfs.reel.order import FINAL_REEL_BYTES, cut
from gtfs.reel.seal import PackToSeal
from gtfs.reel.table import DIGEST_BYTES

_ROWS: Final = 2000  # asked from the index at once


class Sealable:
    """The verified packs of the open reel of which ``wanted`` has the ids."""

    def __init__(self, index: Index, file: Path, wanted: Container[ObjectId], oid_bytes: int) -> None:
        self._file = file
        self._packs = packs = Numbered(oid_bytes)
        self._digests, self._sizes = bytearray(), array("q")
        end = -1
        while rows := index.packs.sealable_after(end, _ROWS):
            end = rows[-1][1]
            for oid, offset, size, digest, time_s in rows:
                if oid in wanted:
                    packs.add(offset, oid, time_s)
                    self._digests += digest
                    self._sizes.append(size)
        for start in range(0, len(packs), _ROWS):
            part = packs.keys[start : start + _ROWS]
            packs.add_parents(index.packs.open_parents(part[0], part[-1]))

    def reels(self, limit_bytes: int = FINAL_REEL_BYTES) -> Iterator[Sequence[PackToSeal]]:
        """What goes into one reel after the other; each can be read until the next one is asked for."""
        if not len(self._packs):
            return
        with ReelReader(self._file) as reader:
            for group in cut(self._packs.order(), self._sizes.__getitem__, limit_bytes):
                yield _Group(self, array("I", group), reader)

    def pack(self, number: int, reader: ReelReader) -> PackToSeal:
        """The pack of this number, which ``reader`` reads."""
        size, offset = self._sizes[number], self._packs.keys[number]
        at = number * DIGEST_BYTES
        digest = PackDigest(bytes(self._digests[at : at + DIGEST_BYTES]))
        return PackToSeal(self._packs.oid(number), size, digest, partial(reader.chunks, offset, size))


class _Group(Sequence[PackToSeal]):
    """Packs that are made as they are asked for."""

    def __init__(self, packs: Sealable, numbers: Sequence[int], reader: ReelReader) -> None:
        self._packs, self._numbers, self._reader = packs, numbers, reader

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> PackToSeal: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[PackToSeal]: ...

    def __getitem__(self, at: int | slice) -> PackToSeal | Sequence[PackToSeal]:
        if isinstance(at, slice):
            return _Group(self._packs, self._numbers[at], self._reader)
        return self._packs.pack(self._numbers[at], self._reader)
