# SPDX-License-Identifier: GPL-3.0-or-later
"""Who looks into a new mirror's mount before its packs are known waits until they are. Trio loop only.

The mount itself stands before: how long it takes to hear of the packs grows with their number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

import pyfuse3

from gtfs.ids import parse_pack_name
from gtfs.mount import inodes
from gtfs.mount.names import Names
from gtfs.mount.tree import PackSource, ReadTimedOut
from gtfs.mount.waits import Waits, living_process


class FirstLook:
    """Of one mount."""

    def __init__(self, source: PackSource, names: Names, waits: Waits) -> None:
        self._source = source
        self._names = names
        self._waits = waits

    async def for_directory(self, inode: int, ctx: pyfuse3.RequestContext) -> None:
        """Before one is listed; raises what ends a wait early, see `Waits.run`, and `TooManyReads`."""
        if not self._source.is_listed:
            root = inode == inodes.ROOT
            await self._wait(self._source.wait_listable if root else self._source.wait_listed, ctx)

    async def for_more(self, row: int, ctx: pyfuse3.RequestContext) -> bool:
        """After the root was listed up to a row of the index: whether there may be more; raises the same.

        Nobody waits for the network here: the kernel lets nobody look a new name up meanwhile.
        """
        if self._source.is_listed:
            return False
        return await self._wait(partial(self._source.wait_beyond, row), ctx)

    async def for_name(self, parent: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Before a name is looked up: a pack, or its torrent, can still come; raises the same."""
        oid = None if self._source.is_listed else parse_pack_name(name.removesuffix(b".torrent"))
        if oid is not None and (parent != inodes.ROOT or self._names.find(name) is None):
            await self._wait(partial(self._source.wait_known, oid), ctx)

    async def _wait(self, wait: Callable[[], Awaitable[None]], ctx: pyfuse3.RequestContext) -> bool:
        """Whether it came in time; else there is less to see."""
        with contextlib.suppress(ReadTimedOut), self._waits.reading(ctx.uid):
            await self._waits.run(wait, living_process(ctx.pid))
            return True
        return False
