# SPDX-License-Identifier: GPL-3.0-or-later
"""What has changed in a node, as numbers that grow: whoever cares keeps the one it saw last, and compares or waits.

Nobody is called. What goes with a change is there before its number grows. Trio loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import trio

from gtfs.ids import ObjectId
from gtfs.reel.index import Index
from gtfs.view.asked import AskedPacks

_REMEMBERED = 64  # changes of packs that a reader of `TreeCount.since` may be late


class Count:
    """Changes of one kind."""

    def __init__(self) -> None:
        self.number = 0
        self._more = trio.Event()

    def grow(self) -> None:
        """One more."""
        self.number += 1
        self._more.set()
        self._more = trio.Event()

    def wake(self) -> None:
        """Whoever waits with `wait_woken` looks up, though nothing is counted."""
        self._more.set()
        self._more = trio.Event()

    async def wait_woken(self, seen: int) -> None:
        """Return when the number is another than ``seen``, or at the next `wake`."""
        if self.number == seen:
            await self._more.wait()

    async def wait_beyond(self, seen: int) -> int:
        """The number, once it is another than ``seen``; at once if it is."""
        while self.number == seen:
            await self._more.wait()
        return self.number


class TreeCount(Count):
    """Changes of the packs' directory; the mount's TreeNews."""

    def __init__(self) -> None:
        super().__init__()
        self._packs: deque[tuple[int, Sequence[ObjectId]]] = deque(maxlen=_REMEMBERED)
        self._gone: deque[tuple[int, Sequence[int]]] = deque(maxlen=_REMEMBERED)

    def packs_changed(self, oids: Sequence[ObjectId]) -> None:
        """These were there already, and are others than they were."""
        self._packs.append((self.number + 1, oids))
        self.grow()

    def packs_gone(self, rows: Sequence[int]) -> None:
        """These rows of the index are no more."""
        self._gone.append((self.number + 1, rows))
        self.grow()

    def gone_since(self, seen: int) -> list[int]:
        """See `mount.tree.TreeNews`."""
        return [row for number, rows in self._gone if number > seen for row in rows]

    def since(self, seen: int) -> list[ObjectId]:
        """See `mount.tree.TreeNews`."""
        return [oid for number, oids in self._packs if number > seen for oid in oids]


class News:
    """One node's."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._last_row = index.packs.last_row()
        self.tree = TreeCount()
        self.git = Count()  # git may have more packs, or its refs stand elsewhere, by what this node did
        self.moved = Count()  # refs that are published may stand elsewhere, by whoever moved them
        self.followed = Count()  # refs have moved by a catalogue
        self.unpacked = Count()  # this node put objects into git
        self.reels = Count()  # reels are whole, or are no more, or other files
        self.wanted = Count()  # there may be something to fetch: another catalogue, key, or what the disk lost
        self.asked = AskedPacks()
        self.refs: Mapping[bytes, ObjectId] = {}  # where git's refs stand, as far as what they reach is known

    def changed(self) -> None:
        """Packs may have come, to the index or to git, and refs may have moved."""
        self.reels.grow()
        self.git.grow()
        last_row = self._index.packs.last_row()
        if last_row > self._last_row:
            self._last_row = last_row
            self.tree.grow()

    def came_in(self, written: Sequence[ObjectId] = ()) -> None:
        """The same by the way in; ``written`` were packs of the tree already, as somebody's files."""
        self.changed()
        self.unpacked.grow()
        if written:
            self.tree.packs_changed(written)
