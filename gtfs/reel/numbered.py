# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs by number, some forty bytes each, to put a million of them in canonical order. Pure; one thread for each."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from gtfs.ids import ObjectId
from gtfs.reel.order import Pairs, order_numbers


class Numbered:
    """Packs in the order of a key that the index has for each: their row, or their offset in a reel."""

    def __init__(self, oid_bytes: int) -> None:
        self._oid_bytes = oid_bytes
        self._oids = bytearray()
        self.keys = array("q")
        self._times = array("q")
        self._pairs = Pairs()

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: int, oid: ObjectId, time_s: int) -> None:
        """The next pack, whose key is higher than those before."""
        self.keys.append(key)
        self._oids += oid
        self._times.append(time_s)

    def add_parents(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Keys of a parent and of its child, once all packs are added; without effect if one of them was not."""
        for parent_key, child_key in pairs:
            parent, child = self._number(parent_key), self._number(child_key)
            if parent is not None and child is not None:
                self._pairs.add(parent, child)

    def oid(self, number: int) -> ObjectId:
        """The id of the pack of this number."""
        at = number * self._oid_bytes
        return ObjectId(bytes(self._oids[at : at + self._oid_bytes]))

    def order(self) -> Sequence[int]:
        """The numbers in canonical order."""
        return order_numbers(len(self), lambda number: (self._times[number], self.oid(number)), self._pairs)

    def reached(self, order: Sequence[int], tips: Iterable[ObjectId]) -> bytearray:
        """For each number 1 if it is a tip or what one descends from, else 0; ``order`` is that of all of them.

        The pairs must have come in the order of the children.
        """
        found, ends = bytearray(len(self)), frozenset(tips)
        children, parents = self._pairs.children, self._pairs.parents
        for number in reversed(order):
            if found[number] or self.oid(number) in ends:
                found[number] = 1
                at = bisect_left(children, number)
                while at < len(children) and children[at] == number:
                    found[parents[at]] = 1
                    at += 1
        return found

    def _number(self, key: int) -> int | None:
        number = bisect_left(self.keys, key)
        return number if number < len(self) and self.keys[number] == key else None
