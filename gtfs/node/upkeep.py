# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the backing repository of a node that unpacks from growing slow: see `gtfs.repo.upkeep`. Trio loop.

Nobody waits for it: it works in a thread and a process of low priority, beside whoever reads and writes.
"""

from __future__ import annotations

import logging
from functools import partial

import trio

from gtfs.errors import GtfsError
from gtfs.ingest.lost import rely_on_others
from gtfs.node.nursery import cancelled, open_flat_nursery
from gtfs.node.saidonce import SaidOnce
from gtfs.reel.index import Index
from gtfs.repo.joinedindex import join_packs
from gtfs.repo.repository import Repository
from gtfs.repo.upkeep import MANY_TIMES, Repacked, repack
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

REST_S = 5.0  # between two looks at the packs; without news for as long, a node is at rest
AGAIN_S = 600.0  # after a failure, which most likely is a full disk


class Upkeep:
    """One node's; git is waited for in ``threads``."""

    def __init__(
        self, repository: Repository, index: Index, writing: Writing, threads: trio.CapacityLimiter | None = None
    ) -> None:
        self._repository = repository
        self._index = index
        self._writing = writing
        self._threads = threads
        self._said = SaidOnce(log)
        self._what = f"git's packs in {repository.path} stay as they are"

    async def run_task(self) -> None:
        """Look once a node is at rest that has unpacked something, and before that if it takes too long to be."""
        unpacked, seen = self._writing.news.unpacked, 0
        async with open_flat_nursery() as nursery:
            while True:
                seen = await unpacked.wait_beyond(seen)
                await trio.sleep(REST_S)
                is_busy = unpacked.number != seen or self._writing.is_under_way  # as with a large batch
                if not await self.look(nursery, is_busy=is_busy):
                    await trio.sleep(AGAIN_S)
                if is_busy:
                    seen = -1  # once more, to find it at rest

    async def look(self, nursery: trio.Nursery, *, is_busy: bool) -> bool:
        """Repack as often as there is reason to, until something comes, and give what is left one index if it is much;
        False if that failed and is likely to again: logged, it harms nobody.

        Who ``is_busy``, or waited for, leaves more packs as they are: a first sync took half as long again with it.
        What became of packs is noted in ``nursery``: who writes just now may do so for minutes.
        """
        work = partial(repack, self._repository, cancelled, times=MANY_TIMES if is_busy else 1)
        unpacked, is_more = self._writing.news.unpacked, True
        seen = unpacked.number
        try:
            while is_more and unpacked.number == seen:
                repacked = await trio.to_thread.run_sync(work, limiter=self._threads)
                if repacked is not None:
                    nursery.start_soon(self._note, repacked)
                is_more = repacked is not None and len(repacked.made) < len(repacked.gone)
            # While packs come, whoever lets them in does so.
            joined = is_busy or await trio.to_thread.run_sync(join_packs, self._repository, limiter=self._threads)
        except (GtfsError, OSError) as e:
            self._said.warn(self._what, e)
            return False
        self._said.is_over(self._what)
        return joined

    async def _note(self, repacked: Repacked) -> None:
        """Else the next start asks git for each object."""
        try:
            await self._writing.run(rely_on_others, self._index, *repacked)
        except (GtfsError, OSError) as e:
            self._said.warn(self._what, e)
