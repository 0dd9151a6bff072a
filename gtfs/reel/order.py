# SPDX-License-Identifier: GPL-3.0-or-later
"""The canonical order of commit packs, and where one reel ends and the next begins (gtfs-reel(5)).

Two publishers with the same commits to seal must write the same reels, so nothing here may depend on when or how the
packs came. Not about bytes: seal.py writes them. Pure functions, any thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from gtfs.ids import ObjectId
from gtfs.pack.limits import MIB

FINAL_REEL_BYTES: Final = 256 * MIB  # design.md §4: a reel of this size is never merged again
_INT64_MAX: Final = (1 << 63) - 1

T = TypeVar("T")


class Item(NamedTuple):
    """A pack to be ordered: a commit with its parents, or a tag object with what its chain points at.

    ``time_s`` is the committer's or tagger's time, 0 where there is none.
    """

    oid: ObjectId
    time_s: int
    parents: Sequence[ObjectId]


def clamp_time_s(time_s: int) -> int:
    """The time as order and index use it: commits may claim years that 64 bits cannot hold."""
    return max(-_INT64_MAX - 1, min(time_s, _INT64_MAX))


def canonical_order(items: Iterable[Item]) -> list[Item]:
    """Parents before children; among those whose parents are all placed, the least (time_s, oid) comes first.

    Parents that are not among ``items`` (already in an earlier reel) do not count. Repeated ids and cycles, which
    hashed history cannot have, raise ValueError.
    """
    by_oid: dict[ObjectId, Item] = {}
    for item in items:
        if by_oid.setdefault(item.oid, item) is not item:
            raise ValueError(f"{item.oid.hex()} twice among the packs to order")
    children: dict[ObjectId, list[ObjectId]] = {}
    unplaced: dict[ObjectId, int] = {}
    ready: list[tuple[int, ObjectId]] = []
    for item in by_oid.values():
        # A commit may name a parent twice; it waits for it once.
        parents = {parent for parent in item.parents if parent in by_oid}
        for parent in parents:
            children.setdefault(parent, []).append(item.oid)
        if parents:
            unplaced[item.oid] = len(parents)
        else:
            ready.append((clamp_time_s(item.time_s), item.oid))
    heapq.heapify(ready)
    placed: list[Item] = []
    while ready:
        _, oid = heapq.heappop(ready)
        placed.append(by_oid[oid])
        for child in children.get(oid, ()):
            unplaced[child] -= 1
            if not unplaced[child]:
                heapq.heappush(ready, (clamp_time_s(by_oid[child].time_s), child))
    if len(placed) != len(by_oid):
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
