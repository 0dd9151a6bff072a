# SPDX-License-Identifier: GPL-3.0-or-later
"""Who waits while the tables of reels are on their way into the index: for single packs, which go first, and for more
of them than a listing has given so far.

Trio loop, but for what `gtfs.state.reelfiles.Lookers` has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import trio

from gtfs.ids import ObjectId


class AskedPacks:
    """One node's."""

    def __init__(self) -> None:
        self._events: dict[ObjectId, trio.Event] = {}
        self._more = trio.Event()
        self._waiting = 0
        self._tables = trio.Event()

    def oids(self) -> frozenset[ObjectId]:
        """Those that are waited for. Any thread."""
        return frozenset(self._events)

    def tell_known(self, oids: Collection[ObjectId]) -> None:
        """The index knows these now. From another thread."""
        trio.from_thread.run_sync(self.known, oids)

    def tell_more(self) -> None:
        """The index knows more than before. From another thread."""
        if self._waiting:
            trio.from_thread.run_sync(self.more)

    def more(self) -> None:
        """The index may know more than before, or all."""
        self._more.set()
        self._more = trio.Event()

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Return when it is; it is asked again after each `more`."""
        self._waiting += 1  # before it is asked: who tells in between sees that somebody waits
        try:
            while not is_so():
                await self._more.wait()
        finally:
            self._waiting -= 1

    def tables_here(self) -> None:
        """Nobody need wait for the network any more: the tables are on this machine, or will not come in time."""
        self._tables.set()

    async def wait_tables(self) -> None:
        """Return after that."""
        await self._tables.wait()

    async def wait(self, oid: ObjectId) -> None:
        """Return once the index knows this pack, or knows all that are to be."""
        await self._events.setdefault(oid, trio.Event()).wait()

    def known(self, oids: Iterable[ObjectId]) -> None:
        """The index knows these now."""
        for oid in oids:
            event = self._events.pop(oid, None)
            if event is not None:
                event.set()
