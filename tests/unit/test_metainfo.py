# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.bencode import encode
from gtfs.ids import InfoHash
from gtfs.metainfo import (
    MAX_METAINFO_BYTES,
    BadMetainfo,
    PieceHasher,
    build_metainfo,
    check_info,
    info_of,
    metainfo_bytes,
    metainfo_of,
    parse_metainfo,
    piece_length,
    with_trackers,
    wrap_info,
)
from gtfs.pack.limits import KIB, MIB

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


def test_trackers_and_web_seeds_leave_the_infohash_alone():
    metainfo, infohash = metainfo_of("n", 3, [b"abc"])
    more = with_trackers(info_of(metainfo), ["http://a/announce", "udp://b:1"], ["http://c/reels/"])
    assert parse_metainfo(more).infohash == infohash
    assert more.startswith(
        b"d8:announce17:http://a/announce13:announce-listll17:http://a/announceel9:udp://b:1ee4:info"
    )
    assert more == with_trackers(info_of(more), ["http://a/announce", "udp://b:1", "udp://b:1"], ["http://c/reels/"])
    assert more.endswith(b"8:url-listl15:http://c/reels/ee")
    assert wrap_info(info_of(more)) == metainfo


@given(values)
def test_bencoding_in_a_torrent_is_read_back_or_refused(value):
    try:
        parse_metainfo(encode({b"info": value}))
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
        b"1:" + bytes(MAX_METAINFO_BYTES),
    ],
)
def test_what_is_no_single_file_torrent_is_refused(text):
    with pytest.raises(BadMetainfo):
        parse_metainfo(text)


def test_missing_bytes_are_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="2 bytes hashed of 3"):
        metainfo_of("n", 3, [b"ab"])


NAME, SIZE, PIECE = "r.reel", 100_000, 65536
GOOD = {b"length": SIZE, b"name": NAME.encode(), b"piece length": PIECE, b"pieces": b"a" * 20 + b"b" * 20}


def check(info: bytes) -> tuple[bytes, ...]:
    return check_info(info, InfoHash(hashlib.sha1(info).digest()), NAME, SIZE, PIECE)


def test_the_reels_own_info_gives_its_piece_hashes():
    assert check(lt.bencode(GOOD)) == (b"a" * 20, b"b" * 20)


@pytest.mark.parametrize(
    "changes",
    [
        {b"name": b"other.reel"},
        {b"name": b"../r.reel"},
        {b"length": SIZE + 1},
        {b"length": b"100000"},
        {b"piece length": 2 * PIECE},
        {b"pieces": b"a" * 20},
        {b"pieces": 5},
        {b"private": 1},
        {b"meta version": 2},
        {b"name.utf-8": b"../../x"},
        {b"attr": b"l", b"symlink path": [b"etc", b"passwd"]},
        {b"files": [{b"length": SIZE, b"path": [b"x"]}]},
    ],
    ids=lambda changes: ",".join(key.decode() for key in changes),
)
def test_any_other_info_is_refused(changes):
    with pytest.raises(BadMetainfo):
        check(lt.bencode({**GOOD, **changes}))


def test_a_missing_key_another_infohash_and_rubbish_are_refused():
    with pytest.raises(BadMetainfo):
        check(lt.bencode({key: value for key, value in GOOD.items() if key != b"length"}))
    with pytest.raises(BadMetainfo):
        check_info(lt.bencode(GOOD), InfoHash(bytes(20)), NAME, SIZE, PIECE)
    for rubbish in (b"", b"i5e", b"d4:name", b"le", b"\xff" * 50):
        with pytest.raises(BadMetainfo):
            check(rubbish)
        with pytest.raises(BadMetainfo):
            info_of(rubbish)


def test_bytes_after_the_info_and_repeated_keys_are_refused():
    good = lt.bencode(GOOD)
    with pytest.raises(BadMetainfo):
        check(good + b"x")
    with pytest.raises(BadMetainfo):
        check(b"d6:lengthi1e" + good[1:])


def test_wrapping_and_unwrapping_keep_the_infohash():
    info = lt.bencode(GOOD)
    assert info_of(wrap_info(info)) == info
    assert lt.load_torrent_buffer(wrap_info(info)).info_hashes.v1.to_bytes() == hashlib.sha1(info).digest()
