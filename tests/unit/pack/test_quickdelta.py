# SPDX-License-Identifier: GPL-3.0-or-later
"""The C of deltas and of trees' differences gives what the Python gives, or leaves it to the Python."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_delta import CASES, unpacked

from gtfs.pack import quickdelta
from gtfs.pack.delta import blob_tokens, make_delta, tree_tokens
from gtfs.pack.treediff import NoTree, Tree, difference

LINES = [
    b"\n",
    b"\r",
    b"\r\n",
    b"a\n",
    b"ab",
    b"x" * 15 + b"\n",
    b"x" * 16 + b"\r",
    b"y" * 200 + b"\r\n",
    b"a line of text\n",
]
PARTS = st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=20)), max_size=12)
# Ids that hold what separates entries, so that no border can be told by its looks.
IDS = [bytes(20), b"\xff" * 20, b"100644 a\0" + b"b" * 11, b"\0" * 9 + b"40000 a\0bcd", bytes(range(20))]
MODES = [b"100644", b"40000", b"160000", b"040000", b"120000", b"1040000", b"0", b"77777777777777777740755"]
NAMES = [b"a", b"a.c", b"a0", b"a/b", b"a/", b"b", b" ", b"z" * 70]
ENTRIES = st.lists(st.tuples(st.sampled_from(MODES), st.sampled_from(NAMES), st.sampled_from(IDS)), max_size=12)


@pytest.fixture(autouse=True)
def compiled_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that `difference` is the Python one, and nothing falls back unnoticed."""
    assert quickdelta.is_compiled()
    monkeypatch.setattr("gtfs.pack.treediff._QUICK_BYTES", -1)


def joined(entries: list[tuple[bytes, bytes, bytes]]) -> bytes:
    return b"".join(mode + b" " + name + b"\0" + oid for mode, name, oid in entries)


def check_lines(base: bytes, target: bytes) -> None:
    assert quickdelta.blob_delta(base, target) == make_delta(base, target, blob_tokens)


def check_trees(old: bytes, new: bytes) -> None:
    before, now = Tree(old, 20), Tree(new, 20)
    try:
        before.borders(), now.borders()
    except NoTree:
        assert quickdelta.sorted_difference(old, new, 20) is None
        return
    assert quickdelta.tree_delta(old, new, 20) == make_delta(old, new, tree_tokens(20), now.borders())
    found = difference(before, Tree(new, 20))
    assert quickdelta.sorted_difference(old, new, 20) == ((found.gone, found.come) if found.is_plain else None)


def in_git_order(found: list[tuple[bytes, bytes, bytes]]) -> list[tuple[bytes, bytes, bytes]]:
    by_key = {name + b"/" * (int(mode[-6:], 8) & 0o170000 == 0o040000): (mode, name, oid) for mode, name, oid in found}
    return [by_key[key] for key in sorted(by_key)]


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_the_vectors(case: dict[str, str]) -> None:
    base, target = unpacked(case["base"]), unpacked(case["target"])
    check_lines(base, target)
    if case["kind"] == "tree":
        check_trees(base, target)


@given(PARTS, PARTS)
def test_lines(base: list[bytes], target: list[bytes]) -> None:
    check_lines(b"".join(base), b"".join(target))


@given(PARTS, PARTS, st.integers(0, 12), st.integers(0, 12))
def test_lines_that_moved(shared: list[bytes], part: list[bytes], at: int, to: int) -> None:
    check_lines(b"".join(shared), b"".join([*part, *shared[at:], *shared[:to], *part]))


@given(ENTRIES, ENTRIES, st.integers(0, 12))
def test_trees(shared: list[tuple[bytes, bytes, bytes]], part: list[tuple[bytes, bytes, bytes]], at: int) -> None:
    changed = [*shared[:at], *part, *shared[at + 1 :]]
    check_trees(joined(shared), joined(changed))
    check_trees(joined(in_git_order(shared)), joined(in_git_order(changed)))
    check_trees(joined(part), joined(in_git_order(shared)))


@pytest.mark.parametrize("tail", [b"100644 b\0short", b"x", b"100644 b", b"100644 \0" + bytes(20), b" b\0" + bytes(20)])
def test_what_is_no_tree_is_left(tail: bytes) -> None:
    good = b"100644 a\0" + bytes(20)
    for old, new in ((good, good + tail), (good + tail, good), (tail, good), (good, tail), (b"", tail)):
        check_trees(old, new)


def test_sha256_trees() -> None:
    old, new = (b"100644 a\0" + bytes(32) + b"40000 b\0" + last * 32 for last in (b"1", b"2"))
    found = difference(Tree(old, 32), Tree(new, 32))
    assert quickdelta.sorted_difference(old, new, 32) == (found.gone, found.come)
    assert quickdelta.tree_delta(old, new, 32) == make_delta(old, new, tree_tokens(32), Tree(new, 32).borders())


@pytest.mark.parametrize("size", [0xFFFF, 0x10000, 0x10001, 0x1234567])
def test_long_copies_and_many_lines(size: int) -> None:
    chance = random.Random(size)
    base = chance.randbytes(size)
    check_lines(base, base[size // 3 :] + b"between\n" * 20 + base[: size // 2])
    lines = [b"%d\n" % chance.randrange(5000) for _ in range(min(size, 20_000))]
    check_lines(b"".join(lines), b"".join(chance.sample(lines, len(lines))))


def test_what_is_no_bytes_is_an_error() -> None:
    for arguments in ((), (b"", b""), ("", b"", 0), (b"", b"", None)):
        with pytest.raises(TypeError):
            quickdelta._inner.make_delta(*arguments)
        with pytest.raises(TypeError):
            quickdelta._inner.difference(*arguments)


def test_without_it_everything_is_left_to_the_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickdelta, "_inner", None)
    assert quickdelta.blob_delta(b"a", b"b") is None
    assert quickdelta.tree_delta(b"", b"", 20) is None
    assert quickdelta.sorted_difference(b"", b"", 20) is None
