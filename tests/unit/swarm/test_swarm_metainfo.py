# SPDX-License-Identifier: GPL-3.0-or-later
"""Metainfo that is not exactly that of the reel which the catalogue named is refused."""

from __future__ import annotations

import hashlib

import libtorrent as lt
import pytest

from gtfs.ids import InfoHash
from gtfs.swarm.metainfo import BadMetadata, check_info, info_of, wrap_info
from gtfs.swarm.settings import fill_ports

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
    with pytest.raises(BadMetadata):
        check(lt.bencode({**GOOD, **changes}))


def test_a_missing_key_another_infohash_and_rubbish_are_refused():
    with pytest.raises(BadMetadata):
        check(lt.bencode({key: value for key, value in GOOD.items() if key != b"length"}))
    with pytest.raises(BadMetadata):
        check_info(lt.bencode(GOOD), InfoHash(bytes(20)), NAME, SIZE, PIECE)
    for rubbish in (b"", b"i5e", b"d4:name", b"le", b"\xff" * 50):
        with pytest.raises(BadMetadata):
            check(rubbish)
        with pytest.raises(BadMetadata):
            info_of(rubbish, NAME)


def test_bytes_after_the_info_and_repeated_keys_are_refused():
    good = lt.bencode(GOOD)
    with pytest.raises(BadMetadata):
        check(good + b"x")
    with pytest.raises(BadMetadata):
        check(b"d6:lengthi1e" + good[1:])


def test_wrapping_and_unwrapping_keep_the_infohash():
    info = lt.bencode(GOOD)
    assert info_of(wrap_info(info), NAME) == info
    assert lt.load_torrent_buffer(wrap_info(info)).info_hashes.v1.to_bytes() == hashlib.sha1(info).digest()


def test_port_0_becomes_one_port_on_every_address():
    assert fill_ports("0.0.0.0:0, [::]:0,eth0:6881", 5) == "0.0.0.0:5,[::]:5,eth0:6881"
