# SPDX-License-Identifier: GPL-3.0-or-later
"""One pack's ``.idx`` file, of version 1 or 2 and either hash (gitformat-pack(5)): what it names. One thread.

dulwich of before 0.25, which Debian 13 has, knows no index of SHA-256.
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_left
from pathlib import Path
from typing import Final

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.repo.place import BadRepository

MAGIC_V2: Final = b"\377tOc\0\0\0\2"
FANOUT: Final = 4 * 256
_OFFSET_V1: Final = 4  # bytes of a pack offset before each name
_SMALL: Final = 1 << 16  # bytes; read and not mapped, as a map keeps a file descriptor and small packs are many


class BadIndex(BadRepository):
    """A file that is no index of a pack, or not whole."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is no index of a pack that gtfs can read, or damaged: git index-pack makes it anew")


class PackIndex:
    """The names in an index; `close` lets go of the file. Raises `BadIndex`, OSError."""

    def __init__(self, path: Path, fmt: ObjectFormat) -> None:
        with path.open("rb") as file:
            is_small = os.fstat(file.fileno()).st_size <= _SMALL
            data = file.read() if is_small else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._data: bytes | mmap.mmap = data
        is_v2 = data[: len(MAGIC_V2)] == MAGIC_V2
        start = len(MAGIC_V2) if is_v2 else 0
        self._first = start + FANOUT + (0 if is_v2 else _OFFSET_V1)
        self._row = fmt.oid_bytes + (0 if is_v2 else _OFFSET_V1)
        self._oid_bytes = fmt.oid_bytes
        try:
            self._fanout: tuple[int, ...] = (0, *struct.unpack_from(">256I", data, start))
        except struct.error:
            self.close()
            raise BadIndex(path) from None
        is_whole = len(data) >= start + FANOUT + len(self) * self._row
        if not is_whole or any(a > b for a, b in zip(self._fanout, self._fanout[1:], strict=False)):
            self.close()
            raise BadIndex(path)

    def __len__(self) -> int:
        return self._fanout[-1]

    def __contains__(self, oid: ObjectId) -> bool:
        low, high = self._fanout[oid[0]], self._fanout[oid[0] + 1]
        at = bisect_left(range(high), bytes(oid), low, key=self._name)
        return at < high and self._name(at) == oid

    def _name(self, number: int) -> bytes:
        at = self._first + number * self._row
        return self._data[at : at + self._oid_bytes]

    def close(self) -> None:
        """Nothing may be asked any more."""
        if isinstance(self._data, mmap.mmap):
            self._data.close()
