# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pieces of a node's reels may leave its disk, and which are leaving: asked by all who use reels. Trio loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from gtfs.ids import InfoHash


class Evictions:
    """One node's. ``is_cache``: whether what is unpacked, or others seed, may leave; else everything stays."""

    def __init__(self, *, is_cache: bool) -> None:
        self.is_cache = is_cache
        self._pinned: set[int] = set()
        self._going: dict[InfoHash, trio.Event] = {}

    def pin(self, reel_id: int) -> None:
        """It is fetched, or read by the way in: nothing of it leaves."""
        self._pinned.add(reel_id)

    def unpin(self, reel_id: int | None = None) -> None:
        """The way in has read this reel (None: every reel)."""
        self._pinned.difference_update(set(self._pinned) if reel_id is None else (reel_id,))

    def is_pinned(self, reel_id: int) -> bool:
        """Whether nothing of it may leave."""
        return reel_id in self._pinned

    @contextmanager
    def leaving(self, infohash: InfoHash) -> Iterator[None]:
        """Within, pieces of this reel leave."""
        gone = self._going[infohash] = trio.Event()
        try:
            yield
        finally:
            del self._going[infohash]
            gone.set()

    def is_leaving(self, infohash: InfoHash) -> bool:
        """Whether some are at this moment."""
        return infohash in self._going

    async def wait_left(self, infohash: InfoHash) -> None:
        """Return when none are."""
        while (gone := self._going.get(infohash)) is not None:
            await gone.wait()
