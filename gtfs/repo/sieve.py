# SPDX-License-Identifier: GPL-3.0-or-later
"""Says of most objects that are in none of many packs that they are not, at the price of one look. One thread.

Three bits for each id, by parts of it, which are as good as random: what has them set may be in a pack, the rest is in
none. So the cost of a question does not grow with the number of packs, and memory is some bytes an object.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.repo.packindex import FANOUT, MAGIC_V2

_BITS: Final = 16  # at least so many for each object: one of 200 that are in no pack gets a wrong "may be"
_LEAST: Final = 1 << 10  # objects that there is room for: a daemon has several for each of its repositories
_MOST_BITS: Final = 1 << 28  # 32 MiB
_WORD_BITS: Final = 32
_WORDS: Final = struct.Struct(">II")  # behind the first


class Sieve:
    """With room for about ``objects``; with more it answers "may be" more often."""

    def __init__(self, objects: int) -> None:
        self.room = max(_LEAST, 1 << objects.bit_length())
        bits = min(self.room * _BITS, _MOST_BITS)
        self._table = bytearray(bits // 8)
        self._shift = _WORD_BITS - (bits.bit_length() - 1)
        self.objects = 0

    @property
    def is_full(self) -> bool:
        """Whether a larger one is due."""
        return self.objects > self.room and self.room * _BITS < _MOST_BITS

    def may_have(self, oid: ObjectId) -> bool:
        """Whether one of the packs may have it; False: none has."""
        table, shift = self._table, self._shift
        at = int.from_bytes(oid[:4], "big") >> shift
        if not table[at >> 3] & 1 << (at & 7):
            return False  # nearly all that are not there
        at, also = (word >> shift for word in _WORDS.unpack_from(oid, 4))
        return bool(table[at >> 3] & 1 << (at & 7)) and bool(table[also >> 3] & 1 << (also & 7))

    def add(self, index: Path, fmt: ObjectFormat) -> bool:
        """Add all of a pack's objects by its index; False, and none is added, if it is of no form known here.

        Raises OSError.
        """
        with index.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            is_v2 = bytes(view[: len(MAGIC_V2)]) == MAGIC_V2
            start = len(MAGIC_V2) if is_v2 else 0
            # In version 1 the offset in the pack stands before each name.
            row = struct.Struct(f">{'' if is_v2 else '4x'}III{fmt.oid_bytes - 12}x")
            names = start + FANOUT
            if len(view) < names:
                return False
            (count,) = struct.unpack_from(">I", view, names - 4)
            if len(view) < names + count * row.size:
                return False
            table, shift = self._table, self._shift
            with view[names : names + count * row.size] as rows:
                for first, second, third in row.iter_unpack(rows):
                    at = first >> shift
                    table[at >> 3] |= 1 << (at & 7)
                    at = second >> shift
                    table[at >> 3] |= 1 << (at & 7)
                    at = third >> shift
                    table[at >> 3] |= 1 << (at & 7)
        self.objects += count
        return True
