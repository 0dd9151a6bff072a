# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.pack.limits import KIB, MIB
from gtfs.reel.metainfo import (
    BadMetainfo,
    PieceHasher,
    bencode,
    build_metainfo,
    metainfo_bytes,
    metainfo_of,
    parse_metainfo,
    piece_length,
)

values = st.recursive(
    st.integers(-(1 << 63), 1 << 63) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.binary(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_the_piece_length_is_a_fixed_function_of_the_size():
    sizes = [0, 128 * MIB, 128 * MIB + 1, 512 * MIB, 512 * MIB + 1, 1 << 40]
    assert [piece_length(size) // KIB for size in sizes] == [64, 64, 128, 128, 256, 256]


def test_the_infohash_is_the_one_that_libtorrent_computes():
    # libtorrent 2.1.1: create_torrent([create_file_entry(name, size)], 65536, v1_only), set_hash, bencode.
    data = hashlib.shake_256(b"gtfs").digest(200_000)
    metainfo, infohash = metainfo_of("a.reel", len(data), [data])
    assert infohash.hex() == "3597c93a0cdea388c97a2a8fee44dce70f53cc17"
    assert metainfo.startswith(b"d4:infod6:lengthi200000e4:name6:a.reel12:piece lengthi65536e6:pieces80:")


@given(st.lists(st.integers(0, 100_000), max_size=6))
def test_the_pieces_do_not_depend_on_how_the_bytes_come(cuts):
    data = hashlib.shake_256(b"x").digest(sum(cuts))
    hasher = PieceHasher(len(data))
    at = 0
    for cut in cuts:
        hasher.update(data[at : at + cut])
        at += cut
    metainfo, infohash = hasher.metainfo("n")
    parsed = parse_metainfo(metainfo)
    assert parsed.infohash == infohash
    wanted = [hashlib.sha1(data[o : o + 65536]).digest() for o in range(0, len(data), 65536)]
    assert parsed.pieces == b"".join(wanted)


def test_a_file_on_disk_gives_the_same_as_its_bytes(tmp_path):
    path = tmp_path / "x.reel"
    path.write_bytes(b"z" * 70_000)
    assert build_metainfo(path) == metainfo_of("x.reel", 70_000, [b"z" * 70_000])
    assert build_metainfo(path, "y")[1] == metainfo_of("y", 70_000, [b"z" * 70_000])[1]


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 700_000])
def test_the_length_of_a_torrent_is_known_before_its_bytes(size):
    metainfo, _ = metainfo_of("some.pack", size, [b"x" * size])
    assert metainfo_bytes("some.pack", size) == len(metainfo)


@given(values)
def test_bencoding_in_a_torrent_is_read_back_or_refused(value):
    try:
        parse_metainfo(bencode({b"info": value}))
    except BadMetainfo:
        pass


@given(st.data())
def test_a_changed_torrent_is_another_torrent_or_refused(data):
    metainfo, infohash = metainfo_of("n", 3, [b"abc"])
    changed = bytearray(metainfo)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert parse_metainfo(bytes(changed)).infohash != infohash
    except BadMetainfo:
        pass


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"i1e",
        b"d4:info",
        b"d1:b0:1:a0:e",
        b"d4:infod6:lengthi03e4:name1:n12:piece lengthi1e6:pieces0:ee",
        b"l" * 100_000,
        b"d4:infod5:filesle4:name1:n12:piece lengthi1e6:pieces0:ee",
        b"d4:infod6:lengthi3e4:name1:n12:piece lengthi65536e6:pieces0:ee",
        b"99999999999:a",
    ],
)
def test_what_is_no_single_file_torrent_is_refused(text):
    with pytest.raises(BadMetainfo):
        parse_metainfo(text)


def test_missing_bytes_are_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="2 bytes hashed of 3"):
        metainfo_of("n", 3, [b"ab"])
