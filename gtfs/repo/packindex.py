# SPDX-License-Identifier: GPL-3.0-or-later
"""One pack's ``.idx`` file, of version 1 or 2 and either hash (gitformat-pack(5)): what it names. One thread.

dulwich of before 0.25, which Debian 13 has, knows no index of SHA-256.
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.repo.place import BadRepository

MAGIC_V2: Final = b"\377tOc\0\0\0\2"
FANOUT: Final = 4 * 256
_OFFSET_V1: Final = 4  # bytes of a pack offset before each name
_CRC: Final = 4
OFFSET: Final = 4
FAR: Final = 1 << 31  # in an offset: the rest is the place of one of 8 bytes
FAR_OFFSET: Final = 8
_SMALL: Final = 1 << 16  # bytes; read and not mapped, as a map keeps a file descriptor and small packs are many


class BadIndex(BadRepository):
    """A file that is no index of a pack, or not whole."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is no index of a pack that gtfs can read, or damaged: git index-pack makes it anew")


class IndexRows(NamedTuple):
    """Some of an index, in the order of names."""

    names: bytes
    offsets: bytes  # in the pack, 4 bytes each
    far: bytes  # those of 8 bytes, to which offsets with the highest bit point


def usable_indexes(directory: Path) -> Iterator[tuple[str, bool]]:
    """The indexes whose pack is there too, as git writes the pack first and takes the index away first; and whether
    git gc will throw that away."""
    names = names_in(directory)
    for name in names:
        stem = name.removesuffix(".idx")
        if stem != name and stem + ".pack" in names:
            yield f"{directory}/{name}", stem + ".mtimes" in names


def names_in(directory: Path) -> set[str]:
    """Of files, none if it is not there."""
    try:
        return {entry.name for entry in os.scandir(directory)}
    except FileNotFoundError:
        return set()


def is_v2(path: Path) -> bool:
    """Whether an index is of version 2, as nearly all are; raises OSError."""
    with path.open("rb") as file:
        return file.read(len(MAGIC_V2)) == MAGIC_V2


class SortedNames:
    """The names of objects in a file of git's, in their order, and how many begin with which byte. One thread.

    `close` lets go of the file. Raises OSError.
    """

    def __init__(self, path: Path, fmt: ObjectFormat) -> None:
        self.path = path
        self._oid_bytes = fmt.oid_bytes
        with path.open("rb") as file:
            is_small = os.fstat(file.fileno()).st_size <= _SMALL
            data = file.read() if is_small else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._data: bytes | mmap.mmap = data

    def _find_names(self, fanout: int, first: int, row: int) -> None:
        """The table of counts, and the first name, stand there, names ``row`` bytes apart; raises `BadIndex`."""
        self._first, self._row = first, row
        try:
            self._fanout: tuple[int, ...] = (0, *struct.unpack_from(">256I", self._data, fanout))
        except struct.error:
            raise BadIndex(self.path) from None
        is_whole = len(self._data) >= first + len(self) * row
        if not is_whole or any(a > b for a, b in zip(self._fanout, self._fanout[1:], strict=False)):
            raise BadIndex(self.path)

    def __len__(self) -> int:
        return self._fanout[-1]

    def __contains__(self, oid: ObjectId) -> bool:
        return self.place_of(oid) is not None

    def place_of(self, oid: ObjectId) -> int | None:
        """How many names stand before this one, None if it is not there."""
        low, high = self._fanout[oid[0]], self._fanout[oid[0] + 1]
        at = bisect_left(range(high), bytes(oid), low, key=self._name)
        return at if at < high and self._name(at) == oid else None

    def count(self, first: int, last: int) -> int:
        """How many objects it has whose first byte is one of these."""
        return self._fanout[last + 1] - self._fanout[first]

    def _name(self, number: int) -> bytes:
        at = self._first + number * self._row
        return self._data[at : at + self._oid_bytes]

    def close(self) -> None:
        """Nothing may be asked any more."""
        if isinstance(self._data, mmap.mmap):
            self._data.close()


class PackIndex(SortedNames):
    """The names in the index of a pack. Raises `BadIndex`, OSError."""

    def __init__(self, path: Path, fmt: ObjectFormat) -> None:
        super().__init__(path, fmt)
        self.is_v2 = is_v2 = self._data[: len(MAGIC_V2)] == MAGIC_V2
        start = len(MAGIC_V2) if is_v2 else 0
        before = 0 if is_v2 else _OFFSET_V1
        try:
            self._find_names(start, start + FANOUT + before, fmt.oid_bytes + before)
        except BadIndex:
            self.close()
            raise

    @property
    def far(self) -> tuple[int, int]:
        """Of an index of version 2, where its far offsets begin and end in the file; raises `BadIndex`."""
        start = self._first + len(self) * (self._row + _CRC + OFFSET)
        end = len(self._data) - 2 * self._oid_bytes
        if start > end or (end - start) % FAR_OFFSET:
            raise BadIndex(self.path)
        return start, end

    def rows(self, first: int, last: int) -> IndexRows:
        """Of an index of version 2, what it has of the objects whose first byte is one of these; raises `BadIndex`."""
        low, high = self._fanout[first], self._fanout[last + 1]
        far_at, far_end = self.far
        offsets_at = far_at - len(self) * OFFSET
        names = self._data[self._first + low * self._row : self._first + high * self._row]
        offsets = self._data[offsets_at + low * OFFSET : offsets_at + high * OFFSET]
        if names and not first <= names[0] <= names[-self._oid_bytes] <= last:
            raise BadIndex(self.path)
        needs_far = max(offsets[::OFFSET], default=0) >= FAR >> 24
        return IndexRows(names, offsets, self._data[far_at:far_end] if needs_far else b"")
