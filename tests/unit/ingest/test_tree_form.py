# SPDX-License-Identifier: GPL-3.0-or-later
"""Large trees: what is found in them is what is found in small ones, and their entries are not held for it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.ids import SHA1
from gtfs.ingest.checkobjects import LookInside, _find_in_links, _find_in_tree, _Found
from gtfs.pack import compiled, objects
from gtfs.pack.format import CorruptPack
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.objects import tree_entries

ONE = b"\1" * 20
MODES = st.sampled_from([b"100644", b"40000", b"120000", b"160000", b"040000", b"100664", b"0"])
NAMES = st.text(alphabet="aAbé-./0", min_size=1, max_size=4).map(str.encode) | st.just(b"n" * 70)
ENTRIES = st.lists(st.tuples(MODES, NAMES, st.sampled_from([ONE, bytes(20)])), max_size=20)


@pytest.fixture
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_PIECE_BYTES", 64)


def look_inside(what: str, oid: bytes) -> Iterator[_Found]:
    yield _Found(f"annexLink: {what}", SHA1.hash_object(b"blob", oid))


def found(raw: bytes, inside: LookInside = look_inside) -> set[_Found] | str:
    try:
        return set(_find_in_tree(tree_entries(raw, SHA1), SHA1, Limits(), inside))
    except CorruptPack:
        return "refused"


@given(entries=ENTRIES, cut=st.integers(0, 2) | st.just(0))
def test_what_is_found_in_a_tree_does_not_hang_on_how_much_of_it_is_split_at_once(
    entries: list[tuple[bytes, bytes, bytes]], cut: int
) -> None:
    raw = b"".join(b"%s %s\0%s" % e for e in entries)
    raw = raw[: len(raw) - cut]
    with pytest.MonkeyPatch.context() as patch:
        whole = found(raw)
        patch.setattr(objects, "_PIECE_BYTES", 64)
        assert found(raw) == whole
        if whole != "refused":
            assert list(tree_entries(raw, SHA1)) == entries


@pytest.mark.usefixtures("in_small_pieces")
@pytest.mark.parametrize("broken", [b"100644 f", b"x", b"100644 \0" + ONE, b"1" * 300, b"\0"])
def test_a_large_tree_is_refused_where_it_breaks(broken: bytes) -> None:
    whole = b"".join(b"100644 %d\0%s" % (n, ONE) for n in range(20))
    with pytest.raises(CorruptPack, match="whole entries") as caught:
        list(tree_entries(whole + broken, SHA1))
    assert caught.value.offset == len(whole)


@pytest.mark.usefixtures("in_small_pieces")
@pytest.mark.parametrize("is_sorted", [True, False])
def test_names_of_a_large_tree_that_stand_twice_or_differ_in_case_alone_are_found_far_apart(is_sorted: bool) -> None:
    names = [b"%04d" % n for n in range(100)]
    entries = [b"100644 %s\0%s" % (name, ONE) for name in (names if is_sorted else names[::-1])]
    entries = [b"40000 a\0" + ONE, *entries, b"120000 A\0" + ONE, b"100644 a\0" + ONE]
    texts = {f.text.partition(":")[0] for f in found(b"".join(entries), lambda *_: iter(()))}
    assert {"duplicateEntries", "linkBesideDirectory"} <= texts


@pytest.mark.parametrize("mode", [b"120000", b"40000"])
def test_no_list_is_made_of_the_entries_of_a_large_tree(mode: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = b"".join(b"%s %06x\0%s" % (mode, n, ONE) for n in range(20_000))
    monkeypatch.setattr(objects, "_PIECE_BYTES", 16 << 10)
    tracemalloc.start()
    try:
        entries = tree_entries(raw, SHA1)
        assert list(_find_in_tree(entries, SHA1, Limits(), lambda *_: iter(()))) == []
        assert list(_find_in_links(entries, lambda *_: iter(()))) == []
        assert tracemalloc.get_traced_memory()[1] < len(raw)
    finally:
        tracemalloc.stop()


def test_where_the_c_would_give_back_more_than_the_tree_the_python_looks() -> None:
    assert compiled.is_compiled()
    most = MIB
    names = b"".join(b"100644 .%06x\0%s" % (n, ONE) for n in range(most + 1))
    assert compiled.look(names, 20, 255, {}, bytes(256)) is None
    kept = compiled.look(names[: -len(b"100644 .000000\0") - 20], 20, 255, {}, bytes(256))
    assert kept is not None and len(kept.remarkable) == most
    del kept
    members = {ONE: None}
    assert compiled.look(names.replace(b".", b"x"), 20, 255, members, compiled.first_bytes(members)) is None
