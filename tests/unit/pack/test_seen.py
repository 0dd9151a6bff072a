# SPDX-License-Identifier: GPL-3.0-or-later
"""What commits introduce is what looking at all of their parents' trees says, and most commits look at none whole."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable, Iterator

import pytest

from gtfs.ids import SHA1, ObjectId
from gtfs.pack.format import BLOB, COMMIT, KIND_NAMES, TREE
from gtfs.pack.seen import SEEN_BYTES
from gtfs.pack.treediff import Tree
from gtfs.pack.trees import MissingObject, Presence, RawObject, TreeCache
from gtfs.pack.walk import Walker

pytestmark = pytest.mark.usefixtures("each_way")

Names = dict[str, "bytes | Names"]  # a blob's contents, or a directory


class Store:
    """Objects in memory, and the history that they make."""

    def __init__(self) -> None:
        self.objects: dict[ObjectId, tuple[int, bytes]] = {}

    def put(self, kind: int, data: bytes) -> ObjectId:
        oid = SHA1.hash_object(KIND_NAMES[kind], data)
        self.objects[oid] = (kind, data)
        return oid

    def tree(self, names: Names) -> ObjectId:
        made = {
            name + "/" * isinstance(what, dict): (
                (b"40000 ", self.tree(what)) if isinstance(what, dict) else (b"100644 ", self.put(BLOB, what))
            )
            for name, what in names.items()
        }
        entries = [(mode + key.rstrip("/").encode() + b"\0" + oid) for key, (mode, oid) in sorted(made.items())]
        return self.put(TREE, b"".join(entries))

    def commit(self, names: Names, *parents: ObjectId) -> ObjectId:
        lines = [f"tree {self.tree(names).hex()}", *(f"parent {parent.hex()}" for parent in parents)]
        who = "A <a@example.org> 1000000000 +0000"
        return self.put(COMMIT, "\n".join([*lines, f"author {who}", f"committer {who}", "", "text"]).encode())

    def ask(self, oids: Iterable[ObjectId]) -> None:
        pass

    def read(self, oid: ObjectId, limit: int) -> RawObject:
        if oid not in self.objects:
            raise MissingObject(oid)
        kind, data = self.objects[oid]
        return RawObject(kind, len(data), data)

    def root(self, commit: ObjectId) -> ObjectId:
        return ObjectId(bytes.fromhex(self.objects[commit][1][5:45].decode()))

    def children(self, tree: ObjectId) -> Iterator[ObjectId]:
        raw = self.objects[tree][1]
        while raw:
            end = raw.index(b"\0") + 21
            yield ObjectId(raw[end - 20 : end])
            raw = raw[end:]

    def below(self, tree: ObjectId) -> set[ObjectId]:
        found = {tree}
        for child in self.children(tree):
            found |= self.below(child) if self.objects[child][0] == TREE else {child}
        return found

    def introduced(self, commit: ObjectId, parents: Iterable[ObjectId]) -> list[ObjectId]:
        """By the letter of design.md §3.1 and §3.2."""
        present = {oid for parent in parents for oid in self.below(self.root(parent))}
        trees: dict[ObjectId, None] = {}
        blobs: dict[ObjectId, None] = {}

        def walk(tree: ObjectId) -> None:
            trees[tree] = None
            for child in self.children(tree):
                if child not in present and child not in trees:
                    if self.objects[child][0] == TREE:
                        walk(child)
                    else:
                        blobs[child] = None

        if self.root(commit) not in present:
            walk(self.root(commit))
        return [commit, *trees, *blobs]


def changed(chance: random.Random, names: Names, contents: int) -> Names:
    """A few names made, changed, moved or taken away, directories among them."""
    found = {name: (changed(chance, what, 0) if isinstance(what, dict) else what) for name, what in names.items()}
    for _ in range(chance.randrange(3)):
        kind = chance.randrange(6)
        name = f"n{chance.randrange(8)}"
        if kind == 0:
            found.pop(name, None)
        elif kind == 1 and found:
            found[name] = found[chance.choice(list(found))]
        elif kind == 2:
            found[name] = {f"n{n}": b"%d" % chance.randrange(contents + 30) for n in range(chance.randrange(1, 4))}
        else:
            found[name] = b"%d" % chance.randrange(contents + 30)
    return found


@pytest.mark.parametrize("cached_bytes", [1, 10 * SEEN_BYTES, 1 << 20])
@pytest.mark.parametrize("seed", range(12))
def test_any_history_in_any_order_gives_what_the_design_says(seed: int, cached_bytes: int) -> None:
    chance, store = random.Random(seed), Store()
    history: list[tuple[ObjectId, list[ObjectId], Names]] = []
    for number in range(60):
        before = chance.sample(history, min(len(history), chance.choice([0, 1, 1, 1, 1, 1, 2, 2, 3])))
        names: Names = {}
        for _, _, others in before:
            names = {**names, **others}
        if chance.random() < 0.15 and history:
            names = chance.choice(history)[2]  # as it was once
        else:
            names = changed(chance, names, number * chance.randrange(2))
        parents = [oid for oid, _, _ in before]
        history.append((store.commit(names, *parents), parents, names))
    if chance.random() < 0.5:
        chance.shuffle(history)
    walker = Walker(store, SHA1, cached_bytes=cached_bytes)
    for oid, parents, _ in history:
        assert [item.oid for item in walker.introduced_by(oid).objects] == store.introduced(oid, parents)


def test_a_tree_that_is_missing_spoils_what_stands_on_it_and_nothing_else() -> None:
    store = Store()
    first = store.commit({"d": {"e": {"a": b"1"}}, "b": b"2"})
    second = store.commit({"d": {"e": {"a": b"3"}}, "b": b"2"}, first)
    third = store.commit({"d": {"e": {"a": b"1"}}, "b": b"4"}, second)
    other = store.commit({"d": {"e": {"a": b"5"}}}, first)
    gone = store.tree({"a": b"3"})
    walker = Walker(store, SHA1)
    expected = store.introduced(other, [first])
    del store.objects[gone]
    walker.introduced_by(first)
    for oid in (second, third, third):
        with pytest.raises(MissingObject):
            walker.introduced_by(oid)
    assert [item.oid for item in walker.introduced_by(other).objects] == expected


def test_what_was_never_seen_asks_for_no_look_at_what_the_parents_have(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[ObjectId] = []
    move = Presence.move
    monkeypatch.setattr(Presence, "move", lambda self, root: (moved.append(root), move(self, root))[1])
    store = Store()
    wide: Names = {f"d{n}": {f"f{m}": b"%d %d" % (n, m) for m in range(20)} for n in range(20)}
    sides, walker = [store.commit(wide)] * 2, Walker(store, SHA1)
    walker.introduced_by(sides[0])
    for number in range(100):  # two lines of history that take turns, as in the order of a real one
        side = number % 2
        names = {**wide, f"d{side}": {"f": b"new %d" % number}}
        sides[side] = store.commit(names, sides[side])
        walker.introduced_by(sides[side])
    assert not moved
    again = store.commit({**wide, "d7": {"moved": b"3 3"}}, sides[0])
    walker.introduced_by(again)
    assert moved == [store.root(sides[0])]


class Odd(Store):
    """Trees of any bytes, too."""

    def commit_of(self, tree: ObjectId, *parents: ObjectId) -> ObjectId:
        lines = [f"tree {tree.hex()}", *(f"parent {parent.hex()}" for parent in parents)]
        return self.put(COMMIT, "\n".join([*lines, "author A <a> 1 +0000", "committer A <a> 1 +0000", "", ""]).encode())


def repeated(store: Odd, depth: int, times: int) -> tuple[ObjectId, ObjectId]:
    """A commit whose trees have the next one below so many times, and one after it, with something else at its end."""
    trees = [store.put(TREE, b"100644 f\0" + store.put(BLOB, text)) for text in (b"old", b"new")]
    for _ in range(depth):
        trees = [store.put(TREE, b"40000 a\0%b" % tree * n) for tree, n in zip(trees, (times, 1), strict=True)]
    first = store.commit_of(trees[0])
    return first, store.commit_of(trees[1], first)


def test_a_name_that_stands_often_in_each_tree_asks_for_no_more_than_there_are_trees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[ObjectId] = []
    get = TreeCache._get

    def counted(cache: TreeCache, oid: ObjectId) -> Tree:
        asked.append(oid)
        assert len(asked) < 500
        return get(cache, oid)

    monkeypatch.setattr(TreeCache, "_get", counted)
    store = Odd()
    found = Walker(store, SHA1).introduced_by(repeated(store, 12, 6)[1]).objects
    assert [item.kind for item in found] == [COMMIT, *[TREE] * 13, BLOB]
    assert all(item.base is not None for item in found[1:])


def test_repeated_names_introduce_what_the_design_says() -> None:
    store = Odd()
    first, second = repeated(store, 3, 3)
    assert [item.oid for item in Walker(store, SHA1).introduced_by(second).objects] == store.introduced(second, [first])


def test_many_entries_of_one_name_share_what_stands_for_them_before() -> None:
    store = Odd()
    trees = [b"".join(b"100644 a\0" + store.put(BLOB, b"%d %d" % (of, n)) for n in range(2000)) for of in range(2)]
    first = store.commit_of(store.put(TREE, trees[0]))
    second = store.commit_of(store.put(TREE, trees[1]), first)
    walker = Walker(store, SHA1)
    tracemalloc.start()
    try:
        found = walker.introduced_by(second).objects
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert {item.base for item in found[2:]} == {SHA1.hash_object(b"blob", b"0 0")}
    assert peak < 8 << 20  # and 32 MB for 2000 lists of 2000


def test_a_path_is_made_for_the_object_that_is_sought_alone() -> None:
    store = Odd()
    leaves = [store.put(TREE, b"100644 f\0" + store.put(BLOB, b"%d" % n)) for n in range(500)]
    long, wide = b"n" * 100_000, b"".join(b"40000 %03d\0%b" % (n, leaf) for n, leaf in enumerate(leaves))
    root = store.put(TREE, b"40000 %b\0%b" % (long, store.put(TREE, wide)))
    walker = Walker(store, SHA1)
    found = walker.introduced_by(store.commit_of(root))
    tracemalloc.start()
    try:
        path = walker.path_of(found, SHA1.hash_object(b"blob", b"7"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path == long + b"/007/f"
    assert peak < 4 << 20
