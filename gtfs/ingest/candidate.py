# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs that might be let in, and their bytes as memory maps that neighbours in one file share. One thread."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from gtfs.ids import ObjectFormat, ObjectId, PackDigest
from gtfs.ingest.examine import Examination
from gtfs.pack.format import HEADER, MAGIC, VERSION

_MAPS = 4
_MAP_BYTES = 4 << 20  # of a file at once: what is mapped and was read counts as memory of this process
_IN_MEMORY = 8 << 20
_CHUNK = 1 << 20
_START = HEADER.pack(MAGIC, VERSION, 0)[:8]


def is_whole(path: Path, fmt: ObjectFormat) -> bool:
    """Whether a file starts like a pack and ends in the checksum of what stands before, without a copy of it.

    For those that are too large to be copied for a look, see `is_large`. Any thread; raises OSError.
    """
    with path.open("rb") as f:
        left = os.fstat(f.fileno()).st_size - fmt.oid_bytes
        if left < HEADER.size or f.read(len(_START)) != _START:  # nor is a hole of a terabyte read
            return False
        digest = fmt.new(_START)
        left -= len(_START)
        while left and (piece := f.read(min(left, _CHUNK))):
            digest.update(piece)
            left -= len(piece)
        return not left and f.read() == digest.digest()


def is_large(length: int) -> bool:
    """Whether a private copy of so many bytes is a file."""
    return length > _IN_MEMORY


class Candidate(NamedTuple):
    """``length`` bytes at ``offset`` in ``path`` that claim to be the pack of ``oid``.

    ``promised`` is the SHA-256 that the table of a reel in an accepted catalogue gives them, None when nobody vouches.
    ``is_ours``: no other program writes this file, so that it can be mapped. Somebody else's could shrink meanwhile,
    and a map beyond the end of a file kills the process.
    ``examination``: what is known of the bytes and holds them, if they were examined before; then no file is read.
    """

    oid: ObjectId
    path: Path
    offset: int
    length: int
    promised: PackDigest | None
    is_ours: bool
    examination: Examination | None = None


class Views:
    """Hands out the bytes of candidates: maps of our own files, private copies of others; a context manager.

    ``spool`` is a directory of ours for copies that are too large for memory.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._maps: dict[tuple[Path, int], mmap.mmap] = {}  # by where they begin; those asked for last come last

    def __enter__(self) -> Views:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._maps.clear()

    def bytes_of(self, candidate: Candidate) -> memoryview:
        """The candidate's bytes; raises OSError. A file that is shorter gives fewer, which the scan refuses."""
        if not candidate.is_ours:
            return self._copy(candidate)
        start = candidate.offset // _MAP_BYTES * _MAP_BYTES
        within, end = candidate.offset - start, candidate.offset - start + candidate.length
        part = self._maps.pop((candidate.path, start), None)
        if part is None or len(part) < end:
            part = _map(candidate.path, start, max(end, 2 * _MAP_BYTES))
        if part is None:
            return memoryview(b"")
        self._maps[candidate.path, start] = part
        while len(self._maps) > _MAPS:
            del self._maps[next(iter(self._maps))]
        return memoryview(part)[within:end]

    def _copy(self, candidate: Candidate) -> memoryview:
        with candidate.path.open("rb") as f:
            f.seek(candidate.offset)
            if not is_large(candidate.length):
                return memoryview(f.read(candidate.length))
            with tempfile.TemporaryFile(dir=self._spool) as copy:
                left = candidate.length
                while left and (piece := f.read(min(left, _CHUNK))):
                    left -= copy.write(piece)
                copy.flush()
                return memoryview(mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ))


def _map(path: Path, start: int, length: int) -> mmap.mmap | None:
    """Part of a file, less where it ends before; None where it has nothing there."""
    with path.open("rb") as f:
        length = min(length, f.seek(0, os.SEEK_END) - start)
        return mmap.mmap(f.fileno(), length, access=mmap.ACCESS_READ, offset=start) if length > 0 else None
