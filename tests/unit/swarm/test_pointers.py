# SPDX-License-Identifier: GPL-3.0-or-later
"""Pointers: what a feed key signed, and nothing else, counts."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gtfs.ids import InfoHash
from gtfs.state.feedkey import BadFeedKey, FeedKey, make_feed_key, read_feed_key
from gtfs.swarm.krpc import nodes_in
from gtfs.swarm.pointers import read_pointer, sign_pointer, target_of

KEY = FeedKey(bytes(range(32)))
HASH = InfoHash(b"h" * 20)


def answer(key: FeedKey = KEY, salt: bytes = b"demo", sequence: int = 3) -> dict[bytes, Any]:
    pointer = sign_pointer(key, salt, sequence, HASH)
    return {b"seq": pointer.sequence, b"sig": pointer.signature, b"v": lt.bdecode(pointer.value)}


def test_the_signature_is_that_of_bep_44() -> None:
    pointer = sign_pointer(KEY, b"demo", 3, HASH)
    assert lt.bdecode(pointer.value) == {b"ih": HASH}  # BEP 46
    assert pointer.value == b"d2:ih20:" + b"h" * 20 + b"e"
    signed = b"4:salt4:demo3:seqi3e1:v" + pointer.value
    Ed25519PublicKey.from_public_bytes(KEY.public).verify(pointer.signature, signed)


def test_the_target_is_that_of_bep_44() -> None:
    key = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
    assert target_of(key, b"").hex() == "4a533d47ec9c7d95b1ad75f576cffc641853b750"
    assert target_of(key, b"foobar").hex() == "411eba73b6f087ca51a3795d9c8c938d365e32c1"


def test_a_pointer_comes_back_as_it_was_signed() -> None:
    assert read_pointer(KEY.public, b"demo", answer()) == sign_pointer(KEY, b"demo", 3, HASH)
    assert read_pointer(KEY.public, b"", answer(salt=b"")) == sign_pointer(KEY, b"", 3, HASH)


@pytest.mark.parametrize(
    "change",
    [
        {b"seq": 4},
        {b"seq": -1},
        {b"seq": b"3"},
        {b"sig": b"s" * 64},
        {b"sig": b"short"},
        {b"sig": None},
        {b"v": {b"ih": b"i" * 20}},
        {b"v": {b"ih": b"h" * 19}},
        {b"v": {b"ih": b"h" * 20, b"more": 1}},
        {b"v": b"h" * 20},
        {b"v": None},
    ],
    ids=str,
)
def test_what_the_key_did_not_sign_is_no_pointer(change: dict[bytes, Any]) -> None:
    assert read_pointer(KEY.public, b"demo", {**answer(), **change}) is None
    assert read_pointer(KEY.public, b"other", answer()) is None
    assert read_pointer(KEY.public, b"demo", answer(FeedKey(b"s" * 32))) is None


def test_a_feed_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "feed.key"
    assert read_feed_key(path) is None
    made = make_feed_key(path)
    assert make_feed_key(path).public == made.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("not hex")
    with pytest.raises(BadFeedKey, match="32 bytes in hex"):
        read_feed_key(path)


def test_nobody_out_there_names_a_node_on_our_own_machine() -> None:
    def entry(host: bytes) -> bytes:
        return b"i" * 20 + host + (6881).to_bytes(2, "big")

    nodes = entry(bytes([127, 0, 0, 1])) + entry(bytes([192, 0, 2, 9])) + entry(bytes([224, 0, 0, 1])) + entry(bytes(4))
    found = nodes_in({b"nodes": nodes, b"nodes6": entry(bytes(15) + b"\1")}, ("192.0.2.1", 1))
    assert found == [(b"i" * 20, ("192.0.2.9", 6881))]
    found = nodes_in({b"nodes": nodes + b"cut off"}, ("127.0.0.1", 1))
    assert [address for _, address in found] == [("127.0.0.1", 6881), ("192.0.2.9", 6881)]
    assert nodes_in({b"nodes": 5}, ("127.0.0.1", 1)) == []
