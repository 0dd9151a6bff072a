# SPDX-License-Identifier: GPL-3.0-or-later
"""The decoded objects of one batch, which later packs may have as bases, within a limit of memory.

Those that were not asked for lately lie in a file without a name. One thread.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Final, NamedTuple

from gtfs.ids import ObjectId
from gtfs.pack.limits import MIB

MEMORY_BYTES: Final = 16 * MIB  # of objects; two batches are under way at once


class _Far(NamedTuple):
    kind: int
    at: int
    size: int


class KeptObjects:
    """Kinds and contents by id; the file lies in ``directory`` and goes with the last reference to this."""

    def __init__(self, directory: Path, memory_bytes: int = MEMORY_BYTES) -> None:
        self._directory = directory
        self._memory_bytes = memory_bytes
        self._near: OrderedDict[ObjectId, tuple[int, bytes]] = OrderedDict()  # those asked for last come last
        self._near_bytes = 0
        self._far: dict[ObjectId, _Far] = {}  # may be near, too
        self._file: IO[bytes] | None = None
        self._end = 0

    def __contains__(self, oid: ObjectId) -> bool:
        return oid in self._near or oid in self._far

    def get(self, oid: ObjectId) -> tuple[int, bytes] | None:
        """Kind and contents, or None; raises OSError."""
        found = self._near.get(oid)
        if found is not None:
            self._near.move_to_end(oid)
            return found
        far = self._far.get(oid)
        if far is None or self._file is None:
            return None
        found = far.kind, _read(self._file.fileno(), far.at, far.size)
        self._keep_near(oid, found)
        return found

    def put(self, oid: ObjectId, kind: int, data: bytes) -> None:
        """Keep an object; raises OSError, as of a full disk."""
        if oid not in self:
            self._keep_near(oid, (kind, data))

    def _keep_near(self, oid: ObjectId, found: tuple[int, bytes]) -> None:
        self._near[oid] = found
        self._near_bytes += len(found[1])
        while self._near_bytes > self._memory_bytes and len(self._near) > 1:
            oldest, (kind, data) = next(iter(self._near.items()))
            if oldest not in self._far:
                self._far[oldest] = _Far(kind, self._write(data), len(data))
            del self._near[oldest]
            self._near_bytes -= len(data)

    def _write(self, data: bytes) -> int:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115  kept open
        at = self._end
        view = memoryview(data)
        while view:
            done = os.pwrite(self._file.fileno(), view, self._end)
            self._end += done
            view = view[done:]
        return at


def _read(fd: int, at: int, size: int) -> bytes:
    data = os.pread(fd, size, at)
    if len(data) != size:
        raise OSError(f"a file of {at + size} bytes without a name ends after {at + len(data)}")
    return data
