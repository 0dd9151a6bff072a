# SPDX-License-Identifier: GPL-3.0-or-later
"""The canonical order of commit packs, and where one reel ends and the next begins (gtfs-reel(5)).

Two publishers with the same commits to seal must write the same reels, so nothing here may depend on when or how the
packs came. Not about bytes: seal.py writes them. Pure functions, any thread.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, TypeVar

from gtfs.ids import ObjectId
from gtfs.pack.limits import MIB

FINAL_REEL_BYTES: Final = 256 * MIB  # design.md §4: a reel of this size is never merged again
_INT64_MAX: Final = (1 << 63) - 1

T = TypeVar("T")


class Item(NamedTuple):
    """A commit with its parents, or a tag object with what its chain points at.

    ``time_s`` is the committer's or tagger's time, 0 where there is none.
    """

    oid: ObjectId
    time_s: int
    parents: Sequence[ObjectId]


def clamp_time_s(time_s: int) -> int:
    """The time as order and index use it: commits may claim years that 64 bits cannot hold."""
    return max(-_INT64_MAX - 1, min(time_s, _INT64_MAX))


class Pairs:
    """Parents and children by their numbers, 8 bytes a pair; each pair once."""

    def __init__(self) -> None:
        self.parents = array("I")
        self.children = array("I")

    def add(self, parent: int, child: int) -> None:
        """One is a parent of the other."""
        self.parents.append(parent)
        self.children.append(child)


def order_numbers(count: int, key_of: Callable[[int], tuple[int, bytes]], pairs: Pairs) -> Sequence[int]:
    """Packs, which are numbers below ``count``, in canonical order: parents before children; among those whose parents
    are all placed, the least (time_s, oid) comes first.

    ``key_of`` gives the latter, and is asked once for each. Parents that are in an earlier reel are not among
    ``pairs``. A cycle, which hashed history cannot have, raises ValueError.
    """
    # The children of number n are below[first[n]:first[n + 1]].
    first, unplaced = array("I", bytes(4 * (count + 1))), array("I", bytes(4 * count))
    for parent in pairs.parents:
        first[parent + 1] += 1
    for child in pairs.children:
        unplaced[child] += 1
    first = array("I", accumulate(first))
    below, end = array("I", bytes(4 * len(pairs.children))), array("I", first)
    for parent, child in zip(pairs.parents, pairs.children, strict=True):
        below[end[parent]] = child
        end[parent] += 1
    ready = [(key_of(number), number) for number in range(count) if not unplaced[number]]
    heapq.heapify(ready)
    placed = array("I")
    while ready:
        _, number = heapq.heappop(ready)
        placed.append(number)
        for child in below[first[number] : first[number + 1]]:
            unplaced[child] -= 1
            if not unplaced[child]:
                heapq.heappush(ready, (key_of(child), child))
    if len(placed) != count:
        raise ValueError("the packs to order form a cycle")
    return placed


def cut(packs: Iterable[T], length_of: Callable[[T], int], limit_bytes: int = FINAL_REEL_BYTES) -> Iterator[list[T]]:
    """Packs in order, grouped into reels: a reel is closed as soon as its packs reach ``limit_bytes``."""
    group: list[T] = []
    total = 0
    for pack in packs:
        group.append(pack)
        total += length_of(pack)
        if total >= limit_bytes:
            yield group
            group, total = [], 0
    if group:
        yield group
