# SPDX-License-Identifier: GPL-3.0-or-later
"""Which objects a commit or an annotated tag introduces, in which order, on which base (design.md §3.1, §3.2, §3.6).

Reads through `TreeReader`; decides nothing about encodings. One thread for each `Walker`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from gtfs.errors import GtfsError
from gtfs.ids import ObjectFormat, ObjectId
from gtfs.pack.format import BLOB, COMMIT, TAG, TREE, CorruptPack, LimitExceeded
from gtfs.pack.limits import Limits
from gtfs.pack.objects import read_commit_names, read_made_s, read_tag_target
from gtfs.pack.seen import SEEN_BYTES, Parents, Seen
from gtfs.pack.treediff import Tree, entry_kind, entry_name, is_tree
from gtfs.pack.trees import CACHED_BYTES, OverLimit, Presence, RawObject, TreeCache, TreeReader, Unencodable, WrongKind

_ASKED: Final = 64  # commits that are read at once
_SMALL_BYTES: Final = 1 << 16  # of a commit that is read before its time


class Introduced(NamedTuple):
    """One object of a commit pack; ``data`` is given for the small ones that the walk itself read."""

    oid: ObjectId
    kind: int
    base: ObjectId | None
    data: bytes | None = None


class Introduction(NamedTuple):
    """The objects of one commit pack in pack order, and what its first object says of itself.

    ``parents`` are the commit's parents in order with repeats removed; for a tag its target, when that travels in a
    pack of its own. ``time_s`` is the committer's or tagger's second, 0 where there is none.
    """

    kind: int
    objects: list[Introduced]
    parents: tuple[ObjectId, ...]
    time_s: int


class CommitFacts(NamedTuple):
    """What the walk needs of a commit object."""

    tree: ObjectId
    parents: tuple[ObjectId, ...]
    time_s: int


def commit_facts(oid: ObjectId, data: bytes, fmt: ObjectFormat) -> CommitFacts:
    """Tree, parents (repeats removed) and committer time; raises `Unencodable` where the header is not git's."""
    try:
        tree, parents = read_commit_names(data, fmt)
    except CorruptPack as e:
        raise Unencodable(f"the commit {oid.hex()} is {e.reason}") from None
    return CommitFacts(tree, tuple(dict.fromkeys(parents)), read_made_s(data) or 0)


class Walker:
    """Finds what commits introduce; its tree cache and presence set make neighbours in history cheap."""

    def __init__(
        self, reader: TreeReader, fmt: ObjectFormat, limits: Limits | None = None, cached_bytes: int = CACHED_BYTES
    ) -> None:
        self._reader = reader
        self._fmt = fmt
        self._limits = limits or Limits()
        self._trees = TreeCache(reader, fmt.oid_bytes, cached_bytes, self._limits.structure_bytes)
        self._presence = Presence(self._trees)
        self._seen = Seen(self._trees, self._presence, cached_bytes // SEEN_BYTES)
        self._commit_trees: dict[ObjectId, ObjectId] = {}
        self._ahead: dict[ObjectId, RawObject] = {}  # what was read before its time
        self._facts: dict[ObjectId, CommitFacts] = {}  # of those of them that are commits

    def cached_tree(self, oid: ObjectId) -> Tree | None:
        """A tree that the walk has read of late, as it has those of a pack and their bases."""
        return self._trees.cached(oid)

    def begin(self, oids: Sequence[ObjectId]) -> None:
        """Read the commits and tags that are asked about next, in this order, and see which trees that will be."""
        self._ahead.clear()
        self._facts.clear()
        roots: dict[ObjectId, ObjectId | None] = {}
        for at in range(0, len(oids), _ASKED):
            group = oids[at : at + _ASKED]
            self._reader.ask(group)
            for oid in group:
                with suppress(GtfsError):  # whoever asks about it hears of it
                    raw = self._reader.read(oid, _SMALL_BYTES)
                    if raw.data is not None:
                        self._ahead[oid] = raw
                        if raw.kind == COMMIT:
                            facts = self._facts[oid] = commit_facts(oid, raw.data, self._fmt)
                            roots.setdefault(facts.tree, self._root_before(facts))
        self._trees.expect(roots)

    def is_at_hand(self, oid: ObjectId) -> bool:
        """Whether the commit was read before its time, and its tree, and those new below it."""
        facts = self._facts.get(oid)
        return oid in self._ahead and facts is not None and self._trees.cached(facts.tree) is not None

    def _root_before(self, facts: CommitFacts) -> ObjectId | None:
        """The tree of the first parent, if it is known."""
        for parent in facts.parents[:1]:
            before = self._facts.get(parent)
            return self._commit_trees.get(parent) if before is None else before.tree
        return None

    def introduced_by(self, oid: ObjectId) -> Introduction:
        """The objects that the commit or tag ``oid`` introduces; raises `Unencodable`, `MissingObject`."""
        raw = self._read(oid)
        if raw.kind == COMMIT:
            return self._commit(oid, raw.data or b"")
        if raw.kind == TAG:
            return self._tag(oid, raw.data or b"")
        raise Unencodable(f"{oid.hex()} is neither a commit nor a tag object")

    def path_of(self, introduction: Introduction, oid: ObjectId) -> bytes | None:
        """Where one of a commit's new objects stands in its tree, None for the commit itself and for tags."""
        n = self._fmt.oid_bytes
        new = {item.oid for item in introduction.objects if item.kind == TREE}
        todo = [item.oid for item in introduction.objects[1:2] if introduction.kind == COMMIT]
        above = dict.fromkeys(todo, (ObjectId(b""), b""))  # of each tree that was met: what names it, and how
        while todo:
            tree = todo.pop()
            for entry in self._trees.entries(tree):
                child = ObjectId(entry[-n:])
                if child == oid:
                    path = [entry_name(entry, n)]
                    while above[tree][0]:
                        tree, name = above[tree]
                        path.append(name)
                    return b"/".join(path[::-1])
                if child in new and child not in above and is_tree(entry):
                    above[child] = (tree, entry_name(entry, n))
                    todo.append(child)
        return None

    def _read(self, oid: ObjectId) -> RawObject:
        """A commit or tag, whole."""
        ahead = self._ahead.pop(oid, None)
        if ahead is not None and ahead.size <= self._limits.structure_bytes:
            return ahead
        raw = self._reader.read(oid, self._limits.structure_bytes)
        if raw.data is None and raw.kind in (COMMIT, TAG):
            raise OverLimit(oid, LimitExceeded("structure_bytes", self._limits.structure_bytes, raw.size), None)
        return raw

    def _commit(self, oid: ObjectId, data: bytes) -> Introduction:
        facts = self._facts.get(oid) or commit_facts(oid, data, self._fmt)
        self._remember(oid, facts.tree)
        old_roots = list(dict.fromkeys(self._tree_of(p) for p in facts.parents))
        first = Introduced(oid, COMMIT, None, data)
        objects = [first]
        if facts.tree not in old_roots:
            objects += self._new_objects(facts.tree, old_roots)
        return Introduction(COMMIT, objects, facts.parents, facts.time_s)

    def _tag(self, oid: ObjectId, data: bytes) -> Introduction:
        objects = [Introduced(oid, TAG, None, data)]
        time_s = read_made_s(data) or 0
        while True:
            try:
                target, kind = read_tag_target(data, self._fmt)
            except CorruptPack as e:
                raise Unencodable(f"the tag {oid.hex()} is {e.reason}") from None
            if kind == COMMIT:
                there = self._reader.read(target, 0).kind
                if there != COMMIT:
                    raise WrongKind(target, COMMIT, there)
                return Introduction(TAG, objects, (target,), time_s)
            if kind == TREE:
                return Introduction(TAG, objects + self._new_objects(target, []), (), time_s)
            if kind == BLOB:
                return Introduction(TAG, [*objects, Introduced(target, BLOB, None)], (), time_s)
            oid, raw = target, self._read(target)
            if raw.kind != TAG:
                raise WrongKind(oid, TAG, raw.kind)
            data = raw.data or b""
            objects.append(Introduced(oid, TAG, None, data))

    def _remember(self, commit: ObjectId, tree: ObjectId) -> None:
        if len(self._commit_trees) >= 65536:
            self._commit_trees.clear()
        self._commit_trees[commit] = tree

    def _tree_of(self, commit: ObjectId) -> ObjectId:
        tree = self._commit_trees.get(commit)
        if tree is None:
            raw = self._read(commit)
            if raw.kind != COMMIT:
                raise WrongKind(commit, COMMIT, raw.kind)
            tree = commit_facts(commit, raw.data or b"", self._fmt).tree
            self._remember(commit, tree)
        return tree

    def _new_objects(self, root: ObjectId, old_roots: list[ObjectId]) -> list[Introduced]:
        self._seen.cover(old_roots)
        present = Parents(self._trees, self._presence, self._seen, old_roots)
        if root in present:
            return []
        trees: dict[ObjectId, Introduced] = {}
        blobs: dict[ObjectId, Introduced] = {}
        n = self._fmt.oid_bytes
        trees[root] = Introduced(root, TREE, old_roots[0] if old_roots else None)
        stack = [iter(self._changed(root, old_roots))]
        while stack:
            for entry, same in stack[-1]:
                child = ObjectId(entry[-n:])
                if child in same or child in present:
                    continue
                base = next(iter(same), None)
                if not is_tree(entry):
                    blobs.setdefault(child, Introduced(child, BLOB, base))
                elif child not in trees:
                    if len(stack) >= self._limits.tree_depth:
                        most = self._limits.tree_depth
                        raise OverLimit(child, LimitExceeded("tree_depth", most, len(stack) + 1), None)
                    trees[child] = Introduced(child, TREE, base)
                    stack.append(iter(self._changed(child, same)))
                    break
            else:
                stack.pop()
        self._seen.add(root, (*trees, *blobs))
        return [*trees.values(), *blobs.values()]

    def _changed(self, tree: ObjectId, old_trees: Collection[ObjectId]) -> list[tuple[bytes, Collection[ObjectId]]]:
        """The entries of a tree that no old tree has literally, gitlinks left out, each with design.md's `same`.

        Without repeats: what stands for an old tree six times would ask for 36 below it, and so on.
        """
        if not old_trees:
            return [(e, ()) for e in self._trees.entries(tree) if entry_kind(e) != COMMIT]
        come: list[bytes] | None = None
        same = _Same(self._fmt.oid_bytes)
        for old in old_trees:
            found = self._trees.difference(old, tree)
            if not found.is_plain:
                return self._changed_oddly(tree, old_trees)
            if come is None:
                come = found.come
            else:
                lacking = frozenset(found.come)
                come = [e for e in come if e in lacking]
            same.add(found.gone)
        return same.beside(come or ())

    def _changed_oddly(
        self, tree: ObjectId, old_trees: Collection[ObjectId]
    ) -> list[tuple[bytes, Collection[ObjectId]]]:
        """The same where a tree repeats a name: what it shares with another one may matter, too."""
        same = _Same(self._fmt.oid_bytes)
        known: set[bytes] = set()
        for old in old_trees:
            entries = self._trees.entries(old)
            known.update(entries)
            same.add(entries)
        return same.beside(e for e in self._trees.entries(tree) if e not in known)


class _Same:
    """The ids that have each name and kind in old trees, in order and without repeats, gitlinks left out."""

    def __init__(self, oid_bytes: int) -> None:
        self._oid_bytes = oid_bytes
        self._found: dict[tuple[bytes, bool], dict[ObjectId, None]] = {}

    def add(self, entries: Iterable[bytes]) -> None:
        """Take those of the next old tree."""
        n = self._oid_bytes
        for e in entries:
            if (kind := entry_kind(e)) != COMMIT:
                self._found.setdefault((entry_name(e, n), kind == TREE), {})[ObjectId(e[-n:])] = None

    def beside(self, entries: Iterable[bytes]) -> list[tuple[bytes, Collection[ObjectId]]]:
        """Entries of the new tree, each with what stands for it in the old ones; those of one name share it."""
        n = self._oid_bytes
        return [
            (e, self._found.get((entry_name(e, n), kind == TREE), ()))
            for e in entries
            if (kind := entry_kind(e)) != COMMIT
        ]
