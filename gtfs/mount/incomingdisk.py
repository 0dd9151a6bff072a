# SPDX-License-Identifier: GPL-3.0-or-later
"""The incoming directory on the disk: the calls on its real files, the bytes that they may have, and what goes wrong.

System calls go through `calls.Calls`; the accounts are on the trio loop.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from gtfs.mount.calls import BRIEF_BYTES, Calls
from gtfs.mount.incomingfile import IncomingFile

log = logging.getLogger(__name__)

T = TypeVar("T")

_DISK_TROUBLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})


class IncomingDisk:
    """``limit_bytes`` bounds the sum of the files' sizes (design.md §13 "incoming"): beyond it writes get EDQUOT."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self.directory = directory
        self.on_trouble: Callable[[str | None], None] = lambda _text: None  # hears what `note` does
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._calls = Calls(8)
        self._trouble: str | None = None

    def at(self, name: bytes) -> Path:
        """Where the file of this name is."""
        return self.directory / os.fsdecode(name)

    async def run_for(self, size: int, call: Callable[..., T], *args: object) -> T:
        """Run a system call on so many bytes of a real file."""
        return await (self.briefly if size <= BRIEF_BYTES else self.in_thread)(call, *args)

    async def in_thread(self, call: Callable[..., T], *args: object) -> T:
        """Run a system call on a real file where it may block."""
        return await self._noting(self._calls.in_thread, call, *args)

    async def briefly(self, call: Callable[..., T], *args: object) -> T:
        """Run one that hardly ever does."""
        return await self._noting(self._calls.briefly, call, *args)

    async def _noting(self, run: Callable[..., Awaitable[T]], call: Callable[..., T], *args: object) -> T:
        try:
            return await run(call, *args)
        except OSError as error:
            if error.errno in _DISK_TROUBLE:
                self.note(f"a file could not be written in {self.directory}: {error.strerror}")
            raise

    def note(self, trouble: str | None) -> None:
        """Say once what the disk does to writers, who are told by errno only; None when it is over."""
        if trouble is not None and trouble != self._trouble:
            log.error("%s", trouble)
        if trouble != self._trouble:
            self._trouble = trouble
            self.on_trouble(trouble)

    async def sync_directory(self) -> None:
        """Make names durable."""

        def sync() -> None:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

        await self.in_thread(sync)

    def count(self, size: int) -> None:
        """A file of this size is there; of a negative one: is there no more."""
        self._used_bytes += size

    def grow(self, file: IncomingFile, size: int) -> None:
        """Account for a new size before it is made; raises EDQUOT."""
        growth = size - file.size
        if file.name is not None:
            if growth > 0 and self._used_bytes + growth > self._limit_bytes:
                text = f"over the limit incoming: {self._limit_bytes} bytes"
                self.note(f"a file could not be written in {self.directory}: {text}")
                raise OSError(errno.EDQUOT, text)
            self._used_bytes += growth
        file.size = size
