# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads of reel files that are here: from memory at once, from the disk while it is quick, else in threads. Trio loop.

A few files stay open. Whoever replaces or removes one calls `OpenFiles.forget`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gtfs.mount.calls import BRIEF_BYTES, Calls
from gtfs.reel.openreel import ReelReader

_OPEN_FILES: Final = 64
_AT_ONCE_BYTES: Final = 1 << 20  # more than that is copied beside the loop, wherever it is


@dataclass(eq=False)
class _Kept:
    reader: ReelReader
    users: int = 0  # threads that read from it now
    forgotten: bool = False


class OpenFiles:
    """Open reel files, the last used ones."""

    def __init__(self) -> None:
        self._calls = Calls(8)
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()
        self._times_forgotten = 0

    async def read(self, path: Path, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes; raises OSError, `CorruptReel` if the file ends before."""
        kept = self._kept.get(path)
        if kept is None:
            kept = await self._opened(path)
        else:
            self._kept.move_to_end(path)
        # A thread costs more than the whole read where the page cache has the bytes.
        if length <= _AT_ONCE_BYTES and not kept.forgotten:
            data = kept.reader.read_nowait(offset, length)
            if data is not None:
                return data
        kept.users += 1
        try:
            run = self._calls.briefly if length <= BRIEF_BYTES else self._calls.in_thread
            return await run(kept.reader.read, offset, length)
        finally:
            kept.users -= 1
            self._close_if_unused(kept)

    async def _opened(self, path: Path) -> _Kept:
        before = self._times_forgotten
        kept = _Kept(await self._calls.briefly(ReelReader, path))
        if self._times_forgotten != before:  # this may be the old one: good for the read that wanted it
            kept.forgotten = True
            return kept
        there = self._kept.setdefault(path, kept)
        if there is not kept:  # another task was faster
            kept.reader.close()
        while len(self._kept) > _OPEN_FILES:
            self._drop(next(iter(self._kept)))
        return there

    def forget(self) -> None:
        """Open every file anew at its next read."""
        self._times_forgotten += 1
        while self._kept:
            self._drop(next(iter(self._kept)))

    def _drop(self, path: Path) -> None:
        kept = self._kept.pop(path)
        kept.forgotten = True
        self._close_if_unused(kept)

    def _close_if_unused(self, kept: _Kept) -> None:
        if kept.forgotten and not kept.users:
            kept.reader.close()
