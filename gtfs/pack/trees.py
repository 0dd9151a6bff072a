# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees as the walk sees them: raw, cached, compared, and which objects a root tree holds.

Trees are never re-serialised and never judged here; `objects.tree_entries` is the strict reading for what comes from
elsewhere. One thread (each `Encoder` has its own cache).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final, NamedTuple, Protocol

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.pack.format import COMMIT, KIND_NAMES, TREE, LimitExceeded
from gtfs.pack.limits import MIB
from gtfs.pack.treediff import Difference, NoTree, Tree, difference, entry_kind, entry_name, is_tree

CACHED_BYTES: Final = 16 * MIB  # of trees
_TOGETHER: Final = 16  # trees that are read at once
_READ_BELOW: Final = 128  # trees, below so many roots: an import of a whole tree is read as the walk gets there
_KEPT_DIFFERENCES: Final = 4096  # of neighbours in history, each wanted when its pack is made and when the next one is
_KEPT_ENTRIES: Final = 64  # a difference of more is not kept


class Unencodable(GtfsError):
    """The commit pack cannot be made from what this repository holds; never guessed (design.md §3.0)."""

    fault = Blame.SOURCE


class MissingObject(Unencodable):
    """The repository lacks an object, as shallow and partial clones do."""

    def __init__(self, oid: ObjectId, wanted: str = "object") -> None:
        super().__init__(f"the {wanted} {oid.hex()} is not in this repository")
        self.oid = oid


class OverLimit(Unencodable):
    """The pack would ask for more than design.md §13 lets a mirror take, so that nobody would get it."""

    def __init__(self, oid: ObjectId, found: LimitExceeded, path: bytes | None) -> None:
        where = "" if path is None else f" ({shown_path(path)})"
        super().__init__(f"the object {oid.hex()}{where} is {found.excess}")
        self.oid = oid
        self.limit = found.limit


def shown_path(path: bytes) -> str:
    """A path for a message: escaped where it could do something to a terminal."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else ascii(text)


class WrongKind(Unencodable):
    """The repository has an object of another kind than what names it says: git cannot read such a history either."""

    def __init__(self, oid: ObjectId, wanted: int, found: int) -> None:
        super().__init__(f"{oid.hex()} should be a {KIND_NAMES[wanted].decode()} and is a {KIND_NAMES[found].decode()}")
        self.oid = oid


class RawObject(NamedTuple):
    """An object as the repository has it; ``data`` is None where it is longer than the reader was asked for."""

    kind: int
    size: int
    data: bytes | None


class TreeReader(Protocol):
    """What reads whole objects; raises `MissingObject`."""

    def ask(self, oids: Iterable[ObjectId]) -> None: ...

    def read(self, oid: ObjectId, limit: int) -> RawObject: ...


class TreeCache:
    """Trees, the least recently used dropped first, and what differed between two of them of late."""

    def __init__(
        self, reader: TreeReader, oid_bytes: int, max_cached: int = CACHED_BYTES, max_bytes: int = 1 << 62
    ) -> None:
        self.oid_bytes = oid_bytes
        self._reader = reader
        self._max_bytes = max_bytes  # of one tree: the limit structure_bytes
        self._trees: OrderedDict[ObjectId, Tree] = OrderedDict()
        self._cached = 0
        self._max_cached = max_cached
        self._expected: deque[ObjectId] = deque()
        self._follows: Mapping[ObjectId, ObjectId | None] = {}
        self._differences: OrderedDict[tuple[ObjectId, ObjectId], Difference] = OrderedDict()

    def expect(self, roots: Mapping[ObjectId, ObjectId | None]) -> None:
        """Say which root trees will be wanted, among others, in this order, each with the one that it follows.

        Some are read together, and with them what is new below them.
        """
        self._expected = deque(roots)
        self._follows = roots

    def ask(self, oids: Iterable[ObjectId]) -> None:
        """Let the reader look for trees that are read next, in this order."""
        self._reader.ask([oid for oid in dict.fromkeys(oids) if oid not in self._trees])

    def entries(self, oid: ObjectId) -> list[bytes]:
        """The entries of the tree ``oid``; raises `MissingObject`, or `Unencodable` for no run of whole entries."""
        with _named(oid):
            return self._get(oid).entries()

    def cached(self, oid: ObjectId) -> Tree | None:
        """The tree ``oid`` if it is cached."""
        return self._trees.get(oid)

    def difference(self, old: ObjectId, new: ObjectId) -> Difference:
        """What differs between two trees; raises like `entries`."""
        known = self._differences.get((old, new))
        if known is not None:
            return known
        before, now = self._get(old), self._get(new)
        try:
            found = difference(before, now)
        except NoTree:
            with _named(old):
                before.borders()
            with _named(new):
                raise
        if len(found.gone) + len(found.come) <= _KEPT_ENTRIES:
            self._differences[old, new] = found
            if len(self._differences) > _KEPT_DIFFERENCES:
                self._differences.popitem(last=False)
        return found

    def _get(self, oid: ObjectId) -> Tree:
        tree = self._trees.get(oid)
        if tree is not None:
            self._trees.move_to_end(oid)
            return tree
        if oid not in self._expected:
            return self._read(oid)
        while self._expected.popleft() != oid:
            pass
        found = self._read(oid)
        few = min(_TOGETHER, self._max_cached // 16 // max(1, len(found.raw)))
        near = [other for other in islice(self._expected, few) if other not in self._trees]
        self._read_ahead(near)
        self._read_below([oid, *near])
        return found

    def _read_ahead(self, oids: Sequence[ObjectId]) -> None:
        self._reader.ask(oids)
        for oid in oids:
            with suppress(GtfsError):  # whoever wants it hears of it
                self._read(oid)

    def _read_below(self, roots: Sequence[ObjectId]) -> None:
        """Read the trees below these that are new there, and what they replace, level by level, all roots' together."""
        pairs = [(self._follows.get(root), root) for root in roots]
        left = _READ_BELOW
        while pairs and left > 0:
            below: dict[ObjectId, ObjectId | None] = {}
            for old, new in pairs:
                if old is not None and old in self._trees and new in self._trees:
                    with suppress(GtfsError):
                        below.update(self._new_below(old, new))
            replaced = (self._trees.get(old) for old in below.values() if old is not None)
            largest = max((len(tree.raw) for tree in replaced if tree is not None), default=1)
            most = min(left, self._max_cached // 4 // largest)  # of those that are about as large, so that they stay
            pairs = [(old, new) for new, old in islice(below.items(), most)]
            left -= len(pairs)
            for at in range(0, len(pairs), _TOGETHER):
                some = dict.fromkeys(oid for pair in pairs[at : at + _TOGETHER] for oid in pair if oid is not None)
                self._read_ahead([oid for oid in some if oid not in self._trees])

    def _new_below(self, old: ObjectId, new: ObjectId) -> Iterator[tuple[ObjectId, ObjectId | None]]:
        """The trees that one tree names and another, which it follows, does not, and what they are in the place of."""
        n = self.oid_bytes
        found = self.difference(old, new)
        gone = {entry_name(e, n): ObjectId(e[-n:]) for e in found.gone if is_tree(e)}
        for e in found.come:
            if is_tree(e) and (oid := ObjectId(e[-n:])) not in self._trees:
                yield oid, gone.get(entry_name(e, n))

    def _read(self, oid: ObjectId) -> Tree:
        raw = self._reader.read(oid, self._max_bytes)
        if raw.kind != TREE:
            raise WrongKind(oid, TREE, raw.kind)
        if raw.data is None:
            raise OverLimit(oid, LimitExceeded("structure_bytes", self._max_bytes, raw.size), None)
        tree = self._trees[oid] = Tree(raw.data, self.oid_bytes)
        self._cached += tree.cost
        while self._cached > self._max_cached and len(self._trees) > 2:  # a difference wants two
            _, dropped = self._trees.popitem(last=False)
            self._cached -= dropped.cost
        return tree


@contextmanager
def _named(oid: ObjectId) -> Iterator[None]:
    try:
        yield
    except NoTree:
        raise Unencodable(f"the tree {oid.hex()} is not a run of whole entries that git can read") from None


class Presence:
    """The set of objects that one root tree holds at any depth, moved from root to root by their difference.

    Each distinct tree is counted once for every entry that names it, so that moving costs what changed and not what
    is there.
    """

    def __init__(self, trees: TreeCache) -> None:
        self._trees = trees
        self._count: dict[ObjectId, int] = {}
        self._root: ObjectId | None = None

    def __contains__(self, oid: ObjectId) -> bool:
        return oid in self._count

    def oids(self) -> Collection[ObjectId]:
        """All of them."""
        return self._count.keys()

    def move(self, root: ObjectId) -> None:
        """Make this the set of ``root``; after an error the set is empty and the next move builds it anew."""
        if root == self._root:
            return
        old, self._root = self._root, None
        try:
            if old is None:
                self._count.clear()
                self._add([root])
            else:
                self._shift(old, root)
        except BaseException:
            self._count.clear()
            raise
        self._root = root

    def _children(self, tree: ObjectId) -> list[tuple[ObjectId, bool]]:
        n = self._trees.oid_bytes
        found = ((ObjectId(e[-n:]), entry_kind(e)) for e in self._trees.entries(tree))
        return [(oid, kind == TREE) for oid, kind in found if kind != COMMIT]

    def _add(self, roots: list[ObjectId]) -> None:
        count = self._count
        todo = roots
        while todo:
            batch = todo[-_TOGETHER:]
            del todo[-_TOGETHER:]
            self._trees.ask(oid for oid in batch if oid not in count)
            for oid in batch:
                seen = count.get(oid, 0)
                count[oid] = seen + 1
                if seen:
                    continue
                for child, tree in self._children(oid):
                    if tree:
                        todo.append(child)
                    else:
                        count[child] = count.get(child, 0) + 1

    def _drop(self, roots: list[ObjectId]) -> None:
        count = self._count
        todo = roots
        while todo:
            oid = todo.pop()
            left = count[oid] - 1
            if left:
                count[oid] = left
                continue
            del count[oid]
            for child, tree in self._children(oid):
                if tree:
                    todo.append(child)
                elif count[child] == 1:
                    del count[child]
                else:
                    count[child] -= 1

    def _shift(self, old_root: ObjectId, new_root: ObjectId) -> None:
        """Move one reference from each old tree to its new one; only what differs is looked at."""
        count = self._count
        n = self._trees.oid_bytes
        todo = [(old_root, new_root)]
        while todo:
            old, new = todo.pop()
            if old == new:
                continue
            if new in count or count[old] != 1:
                self._add([new])
                self._drop([old])
                continue
            del count[old]
            count[new] = 1
            found = self._trees.difference(old, new)
            gone_blobs, gone_trees = _sorted_out(found.gone, n)
            come_blobs, come_trees = _sorted_out(found.come, n)
            partners = dict(gone_trees)
            paired = len(partners) == len(gone_trees)
            for oid in come_blobs:
                count[oid] = count.get(oid, 0) + 1
            add_trees = []
            for name, oid in come_trees:
                if paired and (partner := partners.pop(name, None)) is not None:
                    todo.append((partner, oid))
                else:
                    add_trees.append(oid)
            self._add(add_trees)
            for oid in gone_blobs:
                if count[oid] == 1:
                    del count[oid]
                else:
                    count[oid] -= 1
            self._drop([*partners.values()] if paired else [oid for _, oid in gone_trees])


def _sorted_out(entries: list[bytes], oid_bytes: int) -> tuple[list[ObjectId], list[tuple[bytes, ObjectId]]]:
    """The blobs, and the trees with their names; gitlinks are left out."""
    blobs: list[ObjectId] = []
    trees: list[tuple[bytes, ObjectId]] = []
    for e in entries:
        kind = entry_kind(e)
        if kind == TREE:
            trees.append((entry_name(e, oid_bytes), ObjectId(e[-oid_bytes:])))
        elif kind != COMMIT:
            blobs.append(ObjectId(e[-oid_bytes:]))
    return blobs, trees
