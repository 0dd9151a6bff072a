# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers behind the names: fixed for packs (stable across remounts), handed out for everything else.

A pack's inode is its index row plus `PACK_BASE`, so nothing is kept for it however many the kernel knows. What is
written and what stands under ``.gtfs`` has a number only while the kernel remembers it. Trio loop only.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

ROOT: Final = 1  # FUSE_ROOT_ID
CONTROL: Final = 2  # .gtfs
PACK_BASE: Final = 1024
_FIRST_PASSING: Final = 1 << 48  # beyond any row id of an index


def pack_inode(row: int) -> int:
    """The inode of the pack in this row of the index."""
    return PACK_BASE + row


def pack_row(inode: int) -> int | None:
    """The index row behind an inode, or None if it is no pack's."""
    return inode - PACK_BASE if PACK_BASE < inode < _FIRST_PASSING else None


class PassingInodes:
    """Numbers for keys (any hashable object) for as long as the kernel holds look-ups on them; never reused."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._keys: dict[int, Hashable] = {}
        self._lookups: dict[int, int] = {}
        self._next = _FIRST_PASSING

    def number(self, key: Hashable) -> int:
        """The number of ``key``, new if it has none."""
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = self._next
            self._keys[found] = key
            self._next += 1
        return found

    def key(self, number: int) -> Hashable | None:
        """The key behind ``number``, or None."""
        return self._keys.get(number)

    def looked_up(self, number: int) -> None:
        """The kernel was told this number once more; numbers of other ranges are ignored."""
        if number in self._keys:
            self._lookups[number] = self._lookups.get(number, 0) + 1

    def forget(self, number: int, lookups: int) -> None:
        """The kernel forgets; at the last look-up so do we."""
        left = self._lookups.get(number, 0) - lookups
        if left > 0:
            self._lookups[number] = left
            return
        self._lookups.pop(number, None)
        key = self._keys.pop(number, None)
        if key is not None:
            del self._numbers[key]
