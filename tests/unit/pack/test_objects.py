# SPDX-License-Identifier: GPL-3.0-or-later
"""What commits, trees and tags name."""

from __future__ import annotations

import pytest

from gtfs.ids import SHA1, SHA256
from gtfs.pack.format import COMMIT, TREE, CorruptPack
from gtfs.pack.objects import read_commit_names, read_made_s, read_tag_target, tree_entries

A, B = b"\xaa" * 20, b"\x00\n" * 10
PERSON = b"A <a@b> 12 +0000\n"


def test_tree_entries_are_split_whatever_bytes_their_ids_have() -> None:
    raw = b"040000 d\0" + B + b"100644 f 1\0" + A
    assert list(tree_entries(raw, SHA1)) == [(b"040000", b"d", B), (b"100644", b"f 1", A)]


def test_an_empty_tree_has_no_entries() -> None:
    assert list(tree_entries(b"", SHA1)) == []


def test_tree_entries_of_a_sha256_repository_have_long_ids() -> None:
    assert list(tree_entries(b"40000 d\0" + b"1" * 32, SHA256)) == [(b"40000", b"d", b"1" * 32)]


@pytest.mark.parametrize(
    ("raw", "offset"),
    [
        (b"100644 f\0" + A + b"1", 29),
        (b"100644 f\0" + A[:-1], 0),
        (b"100644 \0" + A, 0),
        (b"100648 f\0" + A, 0),
        (b" f\0" + A, 0),
        (b"100644 f\0" + A + b"\0", 29),
        (b"x100644 f\0" + A, 0),
        (b"0 " * 500_000, 0),
        (b"0" * 1_000_000, 0),
    ],
    ids=range(9),
)
def test_a_tree_that_is_no_run_of_whole_entries_is_refused_where_it_stops_being_one(raw: bytes, offset: int) -> None:
    with pytest.raises(CorruptPack, match="whole entries") as caught:
        tree_entries(raw, SHA1)
    assert caught.value.offset == offset


def test_a_commit_names_its_tree_and_its_parents_repeats_included() -> None:
    a, b = A.hex().encode(), B.hex().encode()
    raw = b"tree %s\nparent %s\nparent %s\nauthor %s" % (a, b, b, PERSON)
    assert read_commit_names(raw, SHA1) == (A, (B, B))
    assert read_commit_names(b"tree %s\nauthor %s" % (a, PERSON), SHA1) == (A, ())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"tree " + b"a" * 39 + b"\n",
        b"tree " + b"g" * 40 + b"\n",
        b"tree " + b"a" * 40,
        b"parent " + b"a" * 40 + b"\n",
        b"tree " + b"a" * 40 + b"\nparent " + b"a" * 41 + b"\n",
        b"tree " + b"a" * 40 + b"\nparent " + b"a" * 40 + b"\nparent \n",
    ],
)
def test_a_commit_whose_names_cannot_be_read_is_refused(raw: bytes) -> None:
    with pytest.raises(CorruptPack):
        read_commit_names(raw, SHA1)


def test_a_tag_names_its_target_and_kind() -> None:
    assert read_tag_target(b"object %s\ntype commit\ntag v1\n" % A.hex().encode(), SHA1) == (A, COMMIT)
    assert read_tag_target(b"object %s\ntype tree\n" % (b"f" * 64), SHA256) == (b"\xff" * 32, TREE)


@pytest.mark.parametrize("raw", [b"", b"object " + b"a" * 40 + b"\ntype gitlink\n", b"object aa\ntype commit\n"])
def test_a_tag_whose_target_cannot_be_read_is_refused(raw: bytes) -> None:
    with pytest.raises(CorruptPack):
        read_tag_target(raw, SHA1)


def test_the_time_is_the_committers_and_never_one_of_the_message() -> None:
    head = b"tree x\nauthor A <a@b> 5 +0000\ncommitter C <c@d> 77 +0000\n"
    assert read_made_s(head + b"\ncommitter E <e@f> 99 +0000\n") == 77
    assert read_made_s(b"object x\ntagger T <t@u> 8 +0000\n\n") == 8
    assert read_made_s(b"tree x\n\n\ncommitter E <e@f> 99 +0000\n") is None
    assert read_made_s(b"tree x\ncommitter E <e@f>99 +0000\n") == 99
