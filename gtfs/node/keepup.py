# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that runs fetches what a newer catalogue brings: its tables, and all of it on a mirror that was whole before.

Trio loop.
"""

from __future__ import annotations

import logging

import trio

from gtfs.errors import GtfsError
from gtfs.node.follow import Follower
from gtfs.node.options import NodeOptions
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.node.saidonce import SaidOnce
from gtfs.view.news import News
from gtfs.view.packs import Packs

log = logging.getLogger(__name__)

_TABLES_S = 30.0  # for the tables of one try
_RETRY_S = 10.0  # after a catalogue could not be followed


class KeepUp:
    """See the module; ``is_whole``: all of what comes is fetched."""

    def __init__(
        self, follower: Follower, reel_torrents: ReelTorrents, packs: Packs, news: News, options: NodeOptions
    ) -> None:
        self.is_whole = options.prefetch
        self._follower = follower
        self._reel_torrents = reel_torrents
        self._packs = packs
        self._news = news
        self._options = options
        self._trouble: str | None = None

    def describe(self) -> dict[str, str | None]:
        """As gtfs(1) documents it under ``following``."""
        return {"error": self._trouble}

    async def run_task(self) -> None:
        """Follow, whenever there may be something to fetch."""
        said, what = SaidOnce(log), "the catalogue cannot be followed yet"
        await self._follower.let_go()  # what a crash may have left
        if self._follower.lacks_tables():
            self._news.wanted.grow()
        else:
            self._packs.now_listed()
        seen = 0
        while True:
            seen = await self._news.wanted.wait_beyond(seen)
            self._trouble = await self._follow()
            if self._trouble is None:
                said.is_over(what)
                continue
            said.warn(what, self._trouble)
            with trio.move_on_after(_RETRY_S):
                await self._news.wanted.wait_beyond(seen)
            seen = -1  # again, whatever came meanwhile

    async def end_listing_task(self) -> None:
        """Nobody who looks into a mount waits longer for tables than the options say."""
        await trio.sleep(self._options.table_s)
        self._packs.now_listed()

    async def _follow(self) -> str | None:
        """One try; gives what hindered it."""
        try:
            try:
                await self._reel_torrents.mend()
                failed = await self._follower.bring_tables(
                    max(_TABLES_S, self._options.table_s), self._packs.now_listed
                )
            finally:
                self._packs.now_listed()
            if self.is_whole:
                report = await self._follower.sync(lambda _progress: None, stall_s=self._options.stall_s)
                failed = report.missing
            else:
                await self._follower.let_go()
            if failed:
                return str(next(iter(failed.values())))
        except (GtfsError, OSError) as e:
            return str(e)
        return None
