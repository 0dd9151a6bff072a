# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands behind an open file, and those that are only read: a commit pack, a file under ``.gtfs``. Trio loop only.

(An open incoming file is an `handletable.WrittenHandle`, one that is copied into ``.gtfs`` a
`droppedfiles.DroppedHandle`, an open directory a `listing.Listing`.)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import trio

from gtfs.ids import ObjectId
from gtfs.mount.tree import ControlEntry, NotLocal, PackInfo, PackSource
from gtfs.mount.waits import FileWaits

_FIRST_AHEAD: Final = 256 << 10
_NEAR: Final = 1 << 20  # the kernel's own read-ahead reaches us out of order, by up to a few requests


class ReadAhead:
    """How far one reader should be read ahead of: nothing at first, then doubling while it goes on in order.

    Each open file has its own, so that one jumping reader spoils nothing for another.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._next = 0
        self._window = 0

    def seen(self, offset: int, length: int) -> int:
        """Bytes wanted behind this read."""
        if abs(offset - self._next) <= _NEAR and (offset or self._next):
            self._window = min(max(2 * self._window, _FIRST_AHEAD), self._limit)
        else:
            self._window = 0
        self._next = offset + length
        return self._window


class Handle(Protocol):
    """An open file, of whatever kind."""

    async def read(self, offset: int, length: int) -> bytes:
        """The bytes at ``offset``, short only at the end."""

    async def write(self, offset: int, data: bytes) -> int:
        """Write all of ``data``, and give its length; raises EPERM where only reading is possible."""

    async def flush(self) -> None:
        """One of its descriptors is being closed: the only moment at which a writer hears what is wrong."""

    async def sync(self, *, data_only: bool) -> None:
        """Make durable what was written."""

    async def close(self) -> None:
        """The last descriptor is gone."""


class ReadOnlyHandle:
    """What every `Handle` that is only read has in common."""

    async def write(self, offset: int, data: bytes) -> int:
        """See `Handle`."""
        raise OSError(errno.EPERM, "only read")

    async def flush(self) -> None:
        """Nothing was written."""

    async def sync(self, *, data_only: bool) -> None:
        """Packs are durable since they are verified."""

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class PackHandle(ReadOnlyHandle):
    """An open commit pack."""

    source: PackSource
    waits: FileWaits
    oid: ObjectId
    size: int
    local: bool  # every byte is here: no wait
    ahead: ReadAhead

    @classmethod
    def opened(cls, source: PackSource, waits: FileWaits, info: PackInfo, read_ahead_bytes: int) -> PackHandle:
        """The handle of a pack that is just being opened."""
        local = info.local_bytes >= info.size
        return cls(source, waits, info.oid, info.size, local, ReadAhead(read_ahead_bytes))

    async def read(self, offset: int, length: int) -> bytes:
        """The bytes at ``offset``, short only at the end; fetched first where they are not here."""
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        ahead = min(self.ahead.seen(offset, length), self.size - offset - length)
        if not self.local and self.waits.closed:
            info = self.source.info(self.oid)  # unmounted lazily while open: only what is here can still be read
            self.local = info is not None and info.local_bytes >= self.size

        async def fetch() -> bytes:
            return await self.source.read(self.oid, offset, length, read_ahead=ahead, waits=not self.local)

        data: bytes | None = None
        if self.local:
            try:
                data = await self.waits.run_here(fetch)
            except NotLocal:  # a cache has let go of it since: from now on it is waited for, as long as somebody reads
                self.local = False
        if data is None:
            data = await self.waits.run(fetch, range(offset, offset + length))
        if len(data) != length:  # the kernel would take a short read for the end of the file
            raise NotLocal(f"{len(data)} of {length} bytes at {offset} of {self.oid.hex()} could be read")
        return data


@dataclass
class ControlHandle(ReadOnlyHandle):
    """An open file under ``.gtfs``: a text made at open, a real file, or something read through the node."""

    text: bytes | None
    fd: int | None
    read_at: Callable[[int, int], Awaitable[bytes]] | None
    size: int
    waits: FileWaits
    limiter: trio.CapacityLimiter = field(repr=False)

    @classmethod
    async def opened(cls, entry: ControlEntry, waits: FileWaits, limiter: trio.CapacityLimiter) -> ControlHandle:
        """Open ``entry``; a text is asked for here, so that one reader sees one version of it."""
        text, fd = None, None
        if entry.read is not None:
            text = await waits.run(entry.read)
        elif entry.path is not None:
            fd = await trio.to_thread.run_sync(_open_file, entry.path, limiter=limiter)
        return cls(text, fd, entry.read_at, entry.size, waits, limiter)

    @property
    def changing(self) -> bool:
        """Whether size and contents are those of this open only."""
        return self.text is not None

    async def read(self, offset: int, length: int) -> bytes:
        """The bytes at ``offset``."""
        if self.text is not None:
            return self.text[offset : offset + length]
        if self.fd is not None:
            return await trio.to_thread.run_sync(os.pread, self.fd, length, offset, limiter=self.limiter)
        read_at, length = self.read_at, min(length, self.size - offset)
        if read_at is None or length <= 0:
            return b""
        return await self.waits.run(lambda: read_at(offset, length), range(offset, offset + length))

    async def close(self) -> None:
        """Close the real file."""
        if self.fd is not None:
            fd, self.fd = self.fd, None
            await trio.to_thread.run_sync(os.close, fd, limiter=self.limiter)


def _open_file(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
