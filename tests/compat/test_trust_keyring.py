# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from keys import Keys, now_s, shared_keys

from gtfs.ids import Fingerprint
from gtfs.trust.keyring import (
    BadKeyring,
    MissingKeyring,
    choose,
    freeze,
    load_keyrings,
    open_keyring,
    read_user_keys,
)
from gtfs.trust.packets import KEY_BLOCK, enarmor, read_packets
from gtfs.trust.verify import BadSignature, verify_detached


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


def new_headers(keyring: bytes) -> bytes:
    """The same packets with new-format headers, as other programs than gpg write them."""
    out = b""
    for packet in read_packets(keyring):
        out += bytes([0xC0 | packet.tag, 255]) + len(packet.body).to_bytes(4, "big") + packet.body
    return out


def test_armored_binary_and_directories_give_one_ring(keys: Keys, tmp_path: Path) -> None:
    directory = tmp_path / "ring.d"
    directory.mkdir()
    (directory / "alice.asc").write_bytes(b"Alice\n" + enarmor(keys.export("alice"), KEY_BLOCK))
    (directory / "bob.gpg").write_bytes(keys.export("bob"))
    (directory / "README").write_bytes(b"not a key")
    (tmp_path / "carol").write_bytes(new_headers(keys.export("carol")))
    ring = load_keyrings([directory, tmp_path / "carol"], tmp_path / "out")
    assert ring.primaries == {keys["alice"], keys["bob"], keys["carol"]}
    for name in ("alice", "bob", "carol"):
        assert verify_detached(b"x", keys.sign(b"x", name), ring, None, now_s=now_s()).primary == keys[name]
    assert open_keyring(ring.path) == ring


def test_a_ring_that_begins_with_new_headers_works(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(new_headers(keys.export("carol")))
    ring = load_keyrings([tmp_path / "new"], tmp_path / "out")
    assert verify_detached(b"x", keys.sign(b"x", "carol"), ring, None, now_s=now_s()).primary == keys["carol"]


def test_the_digest_does_not_depend_on_the_order_or_on_repeats(keys: Keys, tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(keys.export("alice"))
    two.write_bytes(new_headers(keys.export("bob")) + keys.export("alice"))
    three = tmp_path / "3"
    three.write_bytes(keys.export("bob"))
    first = load_keyrings([one, three], tmp_path / "a")
    assert load_keyrings([three, one, one], tmp_path / "b").digest == first.digest
    assert load_keyrings([one, two], tmp_path / "c").primaries == first.primaries


def test_only_chosen_keys_are_kept(keys: Keys, tmp_path: Path) -> None:
    ring = load_keyrings([keys.public], tmp_path / "out", only=frozenset({keys["bob"], keys["mallory"]}))
    assert ring.primaries == {keys["bob"]}


@pytest.mark.parametrize("turned", [False, True])
def test_a_revocation_in_one_copy_counts_against_the_other(keys: Keys, tmp_path: Path, turned: bool) -> None:
    old = tmp_path / "old.gpg"
    old.write_bytes(keys.unrevoked)
    alone = load_keyrings([old], tmp_path / "alone")
    assert verify_detached(b"data\n", keys.signed_by_revoked, alone, None, now_s=now_s()).primary == keys["revoked"]
    copies = [old, keys.public]
    both = load_keyrings(copies[::-1] if turned else copies, tmp_path / "both")
    with pytest.raises(BadSignature, match="revoked"):
        verify_detached(b"data\n", keys.signed_by_revoked, both, None, now_s=now_s())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no OpenPGP public key"),
        (b"hello\n", "no OpenPGP public key"),
        (b"\x99\xff\xffcut", "cut off"),
        (b"\0" * 8 + b"KBXf", "keybox"),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", "secret"),
        (b"\x95\x00\x01a", "secret"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!!\n-----END PGP PUBLIC KEY BLOCK-----\n", "armor"),
    ],
)
def test_files_that_are_no_keyring(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(BadKeyring, match=reason) as caught:
        load_keyrings([tmp_path / "f"], tmp_path / "out")
    assert caught.value.exit_code == 4 and not (tmp_path / "out").exists()


def test_a_real_keybox_is_recognised(keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(BadKeyring, match="gpg --export"):
        load_keyrings([keys.home / "pubring.kbx"], tmp_path / "out")


def test_missing_files_and_empty_directories(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(MissingKeyring) as caught:
            load_keyrings([path], tmp_path / "out")
        assert caught.value.exit_code == 3


def test_an_empty_ring_finds_nobody(keys: Keys, tmp_path: Path) -> None:
    ring = load_keyrings([], tmp_path / "out")
    assert ring.primaries == frozenset()
    with pytest.raises(BadSignature):
        verify_detached(b"x", keys.sign(b"x", "alice"), ring, None, now_s=now_s())


def test_keys_of_the_users_own_gnupg(keys: Keys, tmp_path: Path) -> None:
    wanted = [keys["alice"], keys["carol"]]
    found = read_user_keys(wanted, keys.home)
    assert freeze(choose(wanted, found, "of GnuPG"), tmp_path / "out").primaries == set(wanted)
    with pytest.raises(MissingKeyring, match="no public key"):
        choose([keys["alice"], Fingerprint("0" * 40)], found, "of GnuPG")
