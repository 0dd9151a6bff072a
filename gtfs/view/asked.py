# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs that somebody waits for while the tables of their reels are on their way into the index: they go first.

Trio loop, but for `AskedPacks.oids`.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from gtfs.ids import ObjectId


class AskedPacks:
    """One node's."""

    def __init__(self) -> None:
        self._events: dict[ObjectId, trio.Event] = {}

    def oids(self) -> frozenset[ObjectId]:
        """Those that are waited for. Any thread."""
        return frozenset(self._events)

    async def wait(self, oid: ObjectId) -> None:
        """Return once the index knows this pack, or knows all that are to be."""
        await self._events.setdefault(oid, trio.Event()).wait()

    def known(self, oids: Iterable[ObjectId]) -> None:
        """The index knows these now."""
        for oid in oids:
            event = self._events.pop(oid, None)
            if event is not None:
                event.set()
