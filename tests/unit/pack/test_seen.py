# SPDX-License-Identifier: GPL-3.0-or-later
"""What commits introduce is what looking at all of their parents' trees says, and most commits look at none whole."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest

from gtfs.ids import SHA1, ObjectId
from gtfs.pack.format import BLOB, COMMIT, KIND_NAMES, TREE
from gtfs.pack.seen import SEEN_BYTES
from gtfs.pack.trees import MissingObject, Presence, RawObject
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
