# SPDX-License-Identifier: GPL-3.0-or-later
"""What a commit's parents hold at any depth (design.md §3.1), found out only for objects that may be there.

Nearly every object that a commit names newly was never seen before; only of the others is it asked whether the parents
have them, which means to move the presence set to the first parent. One thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from gtfs.ids import ObjectId
from gtfs.pack.format import COMMIT, TREE
from gtfs.pack.treediff import entry_kind, entry_name, is_tree
from gtfs.pack.trees import Presence, TreeCache

SEEN_BYTES: Final = 128  # about, of each object


class Seen:
    """Objects that were seen: with each tree all that is below it.

    With so many ``more`` than one root has it begins anew. After an error there is nothing in it.
    """

    def __init__(self, trees: TreeCache, presence: Presence, more: int) -> None:
        self._trees = trees
        self._presence = presence
        self._oids: set[ObjectId] = set()
        self._last: ObjectId | None = None  # the root that came last
        self._more = self._most = more

    def __contains__(self, oid: ObjectId) -> bool:
        return oid in self._oids

    def cover(self, roots: Sequence[ObjectId]) -> None:
        """See all that is below these roots."""
        last, self._last = self._last, None
        if roots and (last is None or len(self._oids) > self._most):
            self._oids.clear()
            self._presence.move(roots[0])
            self._oids.update(self._presence.oids())
            self._most = len(self._oids) + self._more
        for root in roots:
            if root not in self._oids:
                assert last is not None  # the first of all roots is there by now
                try:
                    collect(self._trees, last, root, frozenset(), self._oids)
                except BaseException:
                    self._oids.clear()
                    raise
            last = root
        self._last = last

    def add(self, root: ObjectId, oids: Iterable[ObjectId]) -> None:
        """Add what a walk found below ``root`` that no covered root has, all of it."""
        self._oids.update(oids)
        self._last = root


class Parents:
    """The objects in the trees of a commit's parents, as a set."""

    def __init__(self, trees: TreeCache, presence: Presence, seen: Seen, roots: Sequence[ObjectId]) -> None:
        self._trees = trees
        self._presence = presence
        self._seen = seen
        self._roots = roots
        self._elsewhere: set[ObjectId] | None = None  # what only the others have, once it was asked for

    def __contains__(self, oid: ObjectId) -> bool:
        if oid not in self._seen or not self._roots:
            return False
        if self._elsewhere is None:
            first, *others = self._roots
            self._presence.move(first)
            self._elsewhere = set()
            for other in others:
                collect(self._trees, first, other, self._presence, self._elsewhere)
        return oid in self._presence or oid in self._elsewhere


def collect(
    trees: TreeCache, first: ObjectId, root: ObjectId, known: Presence | frozenset[ObjectId], into: set[ObjectId]
) -> None:
    """Every object below ``root`` that ``known``, which has those below ``first``, lacks.

    Without one ``into`` is known to have them.
    """
    n = trees.oid_bytes
    todo: list[tuple[ObjectId | None, ObjectId]] = [(first, root)]
    while todo:
        near, oid = todo.pop()
        if oid in into or oid in known:
            continue
        into.add(oid)
        if near is None:
            gone, come = list[bytes](), trees.entries(oid)
        else:
            gone, come, _ = trees.difference(near, oid)
        beside = {entry_name(e, n): ObjectId(e[-n:]) for e in gone if is_tree(e)}
        for e in come:
            kind = entry_kind(e)
            if kind == TREE:
                todo.append((beside.get(entry_name(e, n)), ObjectId(e[-n:])))
            elif kind != COMMIT:
                into.add(ObjectId(e[-n:]))
