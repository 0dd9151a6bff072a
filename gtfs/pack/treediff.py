# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw trees and what differs between two of them, found without looking at the entries that they share.

Where a tree has the same bytes as another one, its entries begin at the same places; so of a tree that is compared
with one whose borders are known only the bytes between are read. That gives the exact difference as long as both are
in git's order without repeats (`Tree.is_sorted`); what is not is compared entry by entry. Any thread.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections import Counter
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from gtfs.pack.delta import common_prefix
from gtfs.pack.format import BLOB, COMMIT, TREE
from gtfs.pack.objects import kind_of_mode
from gtfs.pack.quickdelta import sorted_difference

_ENTRY: Final = {n: re.compile(rb"[0-7]++ [^\0]++\0.{%d}" % n, re.DOTALL) for n in (20, 32)}
# What follows a broken entry is swallowed, as in `gtfs.pack.objects`, and gives an empty one.
_ENTRIES: Final = {n: re.compile(rb"([0-7]++ [^\0]++\0.{%d})|.+" % n, re.DOTALL) for n in (20, 32)}
_KINDS: Final = {b"100644 ": BLOB, b"100755 ": BLOB, b"120000 ": BLOB, b"160000 ": COMMIT}
_QUICK_BYTES: Final = 32 * 1024  # of both; reading more of them takes longer than finding what they share


class NoTree(ValueError):
    """Bytes that are no run of whole entries that git can read."""


def entry_name(entry: bytes, oid_bytes: int) -> bytes:
    """The name between the first space and the NUL before the id."""
    return entry[entry.index(b" ") + 1 : -oid_bytes - 1]


def entry_kind(entry: bytes) -> int:
    """TREE, BLOB, or COMMIT for a gitlink."""
    return _KINDS.get(entry[:7]) or (TREE if entry.startswith(b"40000 ") else kind_of_mode(entry[: entry.index(b" ")]))


def is_tree(entry: bytes) -> bool:
    """Whether git follows the entry as a directory."""
    return entry_kind(entry) == TREE


def _key(entry: bytes, oid_bytes: int) -> bytes:
    """What git sorts entries by; two of one kind, gitlinks being blobs here, have one key if they have one name."""
    at = entry.index(b" ")
    name = entry[at + 1 : -oid_bytes - 1]
    return name + b"/" if kind_of_mode(entry[:at]) == TREE else name


class Tree:
    """A tree's bytes; its entries are looked for when they are asked for."""

    __slots__ = ("_borders", "_is_sorted", "oid_bytes", "raw")

    def __init__(self, raw: bytes, oid_bytes: int) -> None:
        self.raw = raw
        self.oid_bytes = oid_bytes
        self._borders: array[int] | None = None
        self._is_sorted: bool | None = None

    @property
    def cost(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.raw) + len(self.raw) // 8 + 256

    def entries(self) -> list[bytes]:
        """The raw entries in their order; raises `NoTree`."""
        if self._borders is not None:
            return [self.raw[a:b] for a, b in pairwise(self._borders)]
        entries: list[bytes] = _ENTRIES[self.oid_bytes].findall(self.raw)
        self._borders = array("I", accumulate(map(len, entries), initial=0))
        if self._borders[-1] != len(self.raw):
            self._borders = None
            raise NoTree
        return entries

    def borders(self) -> array[int]:
        """Where each entry begins, and the end; raises `NoTree`."""
        if self._borders is None:
            self.entries()
        assert self._borders is not None
        return self._borders

    def is_sorted(self) -> bool:
        """Whether git's order holds strictly, so that no two entries have one name and kind; raises `NoTree`."""
        if self._is_sorted is None:
            keys = [_key(e, self.oid_bytes) for e in self.entries()]
            self._is_sorted = all(a < b for a, b in pairwise(keys))
        return self._is_sorted

    def found(self, borders: array[int]) -> None:
        """Take what `difference` saw of this tree, which is sorted."""
        self._borders, self._is_sorted = borders, True


class Difference(NamedTuple):
    """The entries of an old tree that the new one lacks, and the other way round, each in its tree's order.

    With ``is_plain``, no two entries of either tree have one name and kind; else repeats count one by one.
    """

    gone: list[bytes]
    come: list[bytes]
    is_plain: bool


def difference(old: Tree, new: Tree) -> Difference:
    """What differs between two trees; raises `NoTree`."""
    if len(old.raw) + len(new.raw) <= _QUICK_BYTES and (quick := sorted_difference(old.raw, new.raw, old.oid_bytes)):
        return Difference(*quick, is_plain=True)
    if old.is_sorted() and (plain := _merge(old, new)) is not None:
        return plain
    before, now = old.entries(), new.entries()
    less, more = Counter(before) - Counter(now), Counter(now) - Counter(before)
    return Difference(_pick(before, less), _pick(now, more), is_plain=False)


def _pick(entries: list[bytes], wanted: Counter[bytes]) -> list[bytes]:
    """The last ones of each, as often as wanted, in order."""
    picked = []
    for entry in reversed(entries):
        if wanted[entry]:
            wanted[entry] -= 1
            picked.append(entry)
    return picked[::-1]


def _merge(old: Tree, new: Tree) -> Difference | None:
    """The difference of a sorted tree and another, of which the borders become known, or None if that is not sorted."""
    n = old.oid_bytes
    match = _ENTRY[n].match
    places, a_raw, b_raw = old.borders(), old.raw, new.raw
    last = len(places) - 1
    borders = array("I")
    gone: list[bytes] = []
    come: list[bytes] = []
    index = at = 0  # the entry of the old tree and the offset in the new one
    before = b""  # the key of the new tree's entry before
    while True:
        begin = places[index]
        shared = common_prefix(a_raw, begin, b_raw, at, min(len(a_raw) - begin, len(b_raw) - at))
        end = bisect_right(places, begin + shared, index) - 1
        if end > index:
            if _key(a_raw[begin : places[index + 1]], n) <= before:
                return None
            shift = at - begin
            borders += array("I", [p + shift for p in places[index:end]]) if shift else places[index:end]
            before = _key(a_raw[places[end - 1] : places[end]], n)
            at += places[end] - begin
            index = end
        old_entry = a_raw[places[index] : places[index + 1]] if index < last else b""
        if at == len(b_raw):
            gone += [a_raw[a:b] for a, b in pairwise(places[index:])]
            break
        found = match(b_raw, at)
        if found is None:
            raise NoTree
        entry = found[0]
        key = _key(entry, n)
        if key <= before:
            return None
        old_key = _key(old_entry, n) if old_entry else None
        if old_key is not None and old_key <= key:
            gone.append(old_entry)
            index += 1
        if old_key is None or key <= old_key:
            come.append(entry)
            borders.append(at)
            at = found.end()
            before = key
    borders.append(at)
    new.found(borders)
    return Difference(gone, come, is_plain=True)
