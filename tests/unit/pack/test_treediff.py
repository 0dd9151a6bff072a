# SPDX-License-Identifier: GPL-3.0-or-later
"""The difference of two trees, found by their shared bytes, is the one that looking at every entry gives."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.pack.treediff import NoTree, Tree, difference

pytestmark = pytest.mark.usefixtures("each_way")

# Ids that hold what separates entries, so that no border can be told by its looks.
IDS = [bytes(20), b"\xff" * 20, b"100644 a\0" + b"b" * 11, b"\0" * 9 + b"40000 a\0bcd", b"x" * 12 + b"100644 b"]
NAMES = [b"a", b"a.c", b"a0", b"ab", b"b", b" ", b"a b", b"z" * 70]
MODES = [b"100644", b"40000", b"160000", b"040000", b"120000"]
ENTRY = st.tuples(st.sampled_from(MODES), st.sampled_from(NAMES), st.sampled_from(IDS))
ENTRIES = st.lists(ENTRY, max_size=12)


def entries_of(found: list[tuple[bytes, bytes, bytes]]) -> list[bytes]:
    return [mode + b" " + name + b"\0" + oid for mode, name, oid in found]


def in_git_order(found: list[tuple[bytes, bytes, bytes]]) -> list[tuple[bytes, bytes, bytes]]:
    by_key = {name + b"/" * mode.endswith(b"40000"): (mode, name, oid) for mode, name, oid in found}
    return [by_key[key] for key in sorted(by_key)]


def check(old: list[bytes], new: list[bytes]) -> None:
    before, now = Tree(b"".join(old), 20), Tree(b"".join(new), 20)
    found = difference(before, now)
    assert Counter(found.gone) == Counter(old) - Counter(new)
    assert Counter(found.come) == Counter(new) - Counter(old)
    assert now.entries() == new
    assert list(now.borders()) == list(Tree(now.raw, 20).borders())
    if found.is_plain:
        assert before.is_sorted()
        assert now.is_sorted() and Tree(now.raw, 20).is_sorted()
        assert found.gone == [e for e in old if e not in new]
        assert found.come == [e for e in new if e not in old]


@given(ENTRIES, ENTRIES)
def test_any_two_trees(old: list[tuple[bytes, bytes, bytes]], new: list[tuple[bytes, bytes, bytes]]) -> None:
    check(entries_of(old), entries_of(new))


@given(ENTRIES, ENTRIES)
def test_trees_in_order(old: list[tuple[bytes, bytes, bytes]], new: list[tuple[bytes, bytes, bytes]]) -> None:
    check(entries_of(in_git_order(old)), entries_of(in_git_order(new)))


@given(ENTRIES, ENTRIES, st.integers(0, 12))
def test_trees_that_share_all_but_a_part(
    shared: list[tuple[bytes, bytes, bytes]], part: list[tuple[bytes, bytes, bytes]], at: int
) -> None:
    check(entries_of(shared), entries_of([*shared[:at], *part, *shared[at + 1 :]]))
    check(entries_of(in_git_order(shared)), entries_of(in_git_order([*shared[:at], *part, *shared[at + 1 :]])))


def test_repeats_in_what_is_shared_are_seen() -> None:
    [a, b, c] = entries_of([(b"100644", name, bytes(20)) for name in (b"a", b"b", b"c")])
    assert not difference(Tree(a + b, 20), Tree(a + b + a, 20)).is_plain
    assert difference(Tree(a + b, 20), Tree(a + b + a, 20)).come == [a]
    assert not difference(Tree(b + c, 20), Tree(c + b + c, 20)).is_plain
    assert difference(Tree(a + c, 20), Tree(a + b + c, 20)) == ([], [b], True)


@pytest.mark.parametrize("tail", [b"100644 b\0short", b"x", b"100644 b", b"100644 \0" + bytes(20), b"9 b\0" * 9])
def test_what_is_no_run_of_entries_is_no_tree(tail: bytes) -> None:
    good = b"100644 a\0" + bytes(20)
    for old, new in ((good, good + tail), (good + tail, good), (good, tail), (b"", tail)):
        with pytest.raises(NoTree):
            difference(Tree(old, 20), Tree(new, 20))


@pytest.mark.parametrize("piece", [b"0", b"0 "])
def test_a_broken_tree_costs_one_pass(piece: bytes) -> None:
    began_s = time.process_time()
    with pytest.raises(NoTree):
        Tree(piece * 400_000, 20).entries()
    assert time.process_time() - began_s < 30  # milliseconds, where a pass for each byte takes minutes
