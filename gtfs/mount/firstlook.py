# SPDX-License-Identifier: GPL-3.0-or-later
"""Who looks into a new mirror's mount before its packs are known waits until they are. Trio loop only.

The mount itself stands before: how long it takes to hear of the packs grows with their number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

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

    async def for_directory(self, inode: int, pid: int) -> None:
        """Before one is listed by the thread ``pid``; raises what ends a wait early, see `Waits.run`."""
        if not self._source.is_listed:
            root = inode == inodes.ROOT
            await self._wait(self._source.wait_listable if root else self._source.wait_listed, living_process(pid))

    async def for_more(self, row: int, pid: int) -> bool:
        """After the root was listed up to a row of the index: whether there may be more; raises the same.

        Nobody waits for the network here: the kernel lets nobody look a new name up meanwhile.
        """
        if self._source.is_listed:
            return False
        return await self._wait(partial(self._source.wait_beyond, row), living_process(pid))

    async def for_name(self, parent: int, name: bytes, pid: int) -> None:
        """Before a name is looked up: a pack, or its torrent, can still come."""
        oid = None if self._source.is_listed else parse_pack_name(name.removesuffix(b".torrent"))
        if oid is not None and (parent != inodes.ROOT or self._names.find(name) is None):
            await self._wait(partial(self._source.wait_known, oid), living_process(pid))

    async def _wait(self, wait: Callable[[], Awaitable[None]], process: int) -> bool:
        """Whether it came in time; else there is less to see."""
        with contextlib.suppress(ReadTimedOut):
            await self._waits.run(wait, process)
            return True
        return False
