# SPDX-License-Identifier: GPL-3.0-or-later
"""Torrents that a node has of another one of its process, in whose place they lie: they leave when that one wants.

See `gtfs.swarm.samereel`. Trio loop.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from gtfs.errors import GtfsError
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)


class LentTorrents:
    """One node's."""

    def __init__(self) -> None:
        self._torrents: set[Torrent] = set()
        self._news = trio.Event()

    def note(self, torrent: Torrent) -> None:
        """It lies in another's place."""
        if torrent not in self._torrents:
            self._torrents.add(torrent)
            self._news.set()

    async def run_task(self, again: Callable[[], Awaitable[None]]) -> None:
        """Call ``again`` whenever some have left, for ever; it may be that it notes them, or others, once more."""
        while True:
            self._news = trio.Event()
            async with trio.open_nursery() as nursery:
                for torrent in self._torrents:
                    nursery.start_soon(self._wait_gone, torrent)
                await self._news.wait()
                nursery.cancel_scope.cancel()
            gone = {torrent for torrent in self._torrents if torrent.milestones.gone.is_set()}
            self._torrents -= gone
            if gone:
                try:
                    await again()
                except (GtfsError, OSError) as e:
                    log.error("what another repository seeded is not seeded from here yet: %s", e)

    async def _wait_gone(self, torrent: Torrent) -> None:
        await torrent.milestones.gone.wait()
        self._news.set()
