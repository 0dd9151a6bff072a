# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs that might be let in, and their bytes as memory maps that neighbours in one file share. One thread."""

from __future__ import annotations

import mmap
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from gtfs.ids import ObjectId, PackDigest


class Candidate(NamedTuple):
    """``length`` bytes at ``offset`` in ``path`` that claim to be the pack of ``oid``.

    ``promised`` is the SHA-256 that the table of a reel in an accepted catalogue gives them, None when nobody vouches.
    """

    oid: ObjectId
    path: Path
    offset: int
    length: int
    promised: PackDigest | None


class Views:
    """Maps files once and hands out views of them; a context manager that lets the maps go."""

    def __init__(self) -> None:
        self._maps: dict[Path, mmap.mmap] = {}

    def __enter__(self) -> Views:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._maps.clear()

    def bytes_of(self, candidate: Candidate) -> memoryview:
        """The candidate's bytes; raises OSError. A file that is shorter gives fewer, which the scan refuses."""
        whole = self._maps.get(candidate.path)
        if whole is None:
            if len(self._maps) >= 64:
                self._maps.clear()
            with candidate.path.open("rb") as f:
                if f.seek(0, 2) == 0:
                    return memoryview(b"")
                whole = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps[candidate.path] = whole
        return memoryview(whole)[candidate.offset : candidate.offset + candidate.length]
