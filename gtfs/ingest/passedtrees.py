# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees that were found without any fault, and what a delta of one adds to it (design.md §8, the short look).

A short look finds no faults. It says that there are none, or nothing, and then the whole tree is looked at: by
`gtfs.ingest.checkobjects`, which knows what a fault is and asks
`gtfs.pack.compiled` first, whose look at the whole takes less time than this. One thread.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.ingest import names
from gtfs.pack.copies import Copy, read_copies
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.objects import TreeEntry

MAX_BYTES: Final = 32 * MIB
MIN_TREE_BYTES: Final = 4096  # a smaller tree is looked at in less time than its delta

_PLAIN: Final = frozenset((b"40000", b"100644", b"100755", b"160000"))  # all good modes but that of links
_ENTRY: Final = {n: re.compile(rb"([0-7]++) ([^\0]++)\0(.{%d})" % n, re.DOTALL) for n in (20, 32)}  # as `tree_entries`
_START: Final = b"\1"
_WINDOW: Final = 4096  # bytes of the base in which the entry is sought that a new one replaces
_MAX_SEARCHES: Final = 32  # of the whole tree for a name; a tree with more new names is looked at whole
_MAX_SOUGHT: Final = 64  # ids sought in the base
_FEW_NEW: Final = 16  # entries, and one more for each
_BYTES_EACH_NEW: Final = 512  # bytes of the tree


class PassedTree(NamedTuple):
    """A tree without faults, links or a `.gitmodules`: whatever pack it stands in, its own bytes are good."""

    raw: bytes
    starts: bytes  # one byte longer than ``raw``: 1 where an entry starts and at the end, else 0


class PassedTrees:
    """The trees that one ingest has let pass, at most ``max_bytes`` of them, those of the least recent use dropped."""

    def __init__(
        self,
        fmt: ObjectFormat,
        limits: Limits,
        max_bytes: int = MAX_BYTES,
        min_tree_bytes: int = MIN_TREE_BYTES,
    ) -> None:
        self._fmt = fmt
        self._limits = limits
        self._max_bytes = max_bytes
        self._min_tree_bytes = min_tree_bytes
        self._bytes = 0
        self._trees: OrderedDict[ObjectId, PassedTree] = OrderedDict()

    def __contains__(self, oid: ObjectId) -> bool:
        return oid in self._trees

    def add(self, trees: Iterable[tuple[ObjectId, PassedTree]]) -> None:
        """Remember trees of a pack that passed as a whole."""
        for oid, tree in trees:
            if oid not in self._trees:
                self._trees[oid] = tree
                self._bytes += 2 * len(tree.raw)
        while self._bytes > self._max_bytes:
            self._bytes -= 2 * len(self._trees.popitem(last=False)[1].raw)

    def whole(self, raw: bytes, entries: Iterable[TreeEntry]) -> PassedTree | None:
        """What to `add` of a tree that was looked at whole, None if it is not worth it; ``entries`` are all of it."""
        if not self._min_tree_bytes <= len(raw) <= self._max_bytes // 2:
            return None
        rest = bytes(1 + self._fmt.oid_bytes)  # with the space, and the NUL of the name
        return PassedTree(raw, b"".join([_START + bytes(len(m) + len(n)) + rest for m, n, _ in entries]) + _START)

    def look(
        self, raw: bytes, base: ObjectId, delta: bytes, sought: Collection[ObjectId]
    ) -> tuple[list[TreeEntry], PassedTree] | None:
        """The entries of a tree that are not those of its delta's base, if neither they nor their places have a fault.

        ``sought``: ids that no other entry may have. None where only a look at the whole tree can tell.
        """
        passed = self._trees.get(base)
        if passed is None or len(raw) < self._min_tree_bytes or len(sought) > _MAX_SOUGHT:
            return None
        self._trees.move_to_end(base)
        copies = read_copies(delta, _FEW_NEW + len(raw) // _BYTES_EACH_NEW)
        if copies is None:
            return None
        look = _ShortLook(raw, passed, self._fmt, self._limits)
        if not look.run(copies):
            return None
        if any(passed.raw.find(oid) >= 0 for oid in sought):  # also where it is no entry's id
            return None
        return look.new, PassedTree(raw, b"".join(look.marks))


class _ShortLook:
    """One tree beside the base of its delta. The delta is believed nothing: what it copies is compared."""

    def __init__(self, raw: bytes, base: PassedTree, fmt: ObjectFormat, limits: Limits) -> None:
        self.new: list[TreeEntry] = []
        self.marks: list[bytes] = []  # of `PassedTree.starts`
        self._raw = raw
        self._base, self._starts = base
        self._entry = _ENTRY[fmt.oid_bytes]
        self._null = bytes(fmt.oid_bytes)
        self._max_name = min(limits.component_bytes, names.NAME_BYTES)
        self._max_new = _FEW_NEW + len(raw) // _BYTES_EACH_NEW
        self._searches = 0
        self._at = 0  # an entry starts here, and all before is good
        self._base_at = 0  # where what was kept last ends in the base
        self._last_key = b""  # by which the entry before is sorted

    def run(self, copies: list[Copy]) -> bool:
        for copy in copies:
            if not self._keep(copy):
                return False
        while self._at < len(self._raw):
            if not self._take_new():
                return False
        self.marks.append(_START)
        return True

    def _keep(self, copy: Copy) -> bool:
        """Pass over the whole entries of the base that are copied, and look at what stands before them."""
        at, base_at, size = copy
        ahead = at - base_at
        end = min(base_at + size, len(self._base)) + 1  # an entry may start, and the one before end, where copies end
        while True:
            first = self._starts.find(_START, max(base_at, self._at - ahead), end)
            if first < 0:
                return True
            if first + ahead == self._at:
                break
            while self._at < first + ahead:  # and perhaps beyond, where the copy cuts an entry
                if not self._take_new():
                    return False
        last = self._starts.rfind(_START, first, end)
        if last == first:
            return True
        if self._raw[self._at : self._at + last - first] != self._base[first:last]:
            return False
        if not self._is_behind(self._entry.match(self._base, first)):
            return False
        tail = self._entry.match(self._base, self._starts.rfind(_START, first, last))
        assert tail is not None  # where the base has an entry
        self._last_key = _key(tail[1], tail[2])
        self.marks.append(self._starts[first:last])
        self._at += last - first
        self._base_at = last
        return True

    def _take_new(self) -> bool:
        """Look at one entry on its own, and whether it may stand where it does."""
        raw, at = self._raw, self._at
        m = self._entry.match(raw, at)
        if m is None or len(self.new) >= self._max_new:
            return False
        mode, name, oid = m.groups()
        if mode not in _PLAIN or len(name) > self._max_name or oid == self._null:
            return False
        if names.any_remarkable(name) and names.look_at(name) is not None:
            return False
        if not self._is_behind(m):
            return False
        # In git's order a file and a directory of one name need not be neighbours.
        head = raw[at : m.start(3)]
        same = self._base.find(head, self._base_at, self._base_at + _WINDOW)
        if same < 0 or self._starts[same : same + 1] != _START:
            self._searches += 1
            if self._searches > _MAX_SEARCHES or raw.count(head[len(mode) :]) != 1:
                return False
        self._last_key = _key(mode, name)
        self.new.append((mode, name, ObjectId(oid)))
        self.marks.append(_START + bytes(m.end() - at - 1))
        self._at = m.end()
        return True

    def _is_behind(self, m: re.Match[bytes] | None) -> bool:
        return m is not None and _key(m[1], m[2]) > self._last_key


def _key(mode: bytes, name: bytes) -> bytes:
    """What git sorts a tree's entries by."""
    return name + b"/" if mode == b"40000" else name
