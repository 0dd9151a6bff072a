# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that gpgv stumbles over: none stops another, and what is left out of a key is said with its name."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import DAY_S, NOW_S, YEAR_S, Keys, gpg_time, now_s, packet, shared_keys, subkey_packets

from gtfs.ids import Fingerprint
from gtfs.trust.keyring import Keyring, freeze, load_keyrings, open_keyring, read_keyrings
from gtfs.trust.packets import read_packets
from gtfs.trust.verify import BadSignature, verify_detached

DATA = b"data\n"
NEW_KEY = bytes([6]) + NOW_S.to_bytes(4, "big") + b"\x1b" + (32).to_bytes(4, "big") + b"k" * 32  # RFC 9580 §5.5.2.3
FUTURE_KEY = (
    bytes([4]) + (NOW_S + YEAR_S).to_bytes(4, "big") + b"\x16\x09+\x06\x01\x04\x01\xdaG\x0f\x01\x01\x07@" + b"k" * 32
)
UNKNOWN_KEY = bytes([4]) + NOW_S.to_bytes(4, "big") + b"\x63" + b"k" * 40
STRANGER = bytes(range(8))


@pytest.fixture(scope="module")
def keys() -> Keys:
    return shared_keys()


def certification(number: int) -> bytes:
    """What a stranger says of a key, as key servers were flooded with."""
    issuer = bytes([9, 16]) + STRANGER
    body = bytes([4, 0x10, 22, 8, 0, 0]) + len(issuer).to_bytes(2, "big") + issuer + number.to_bytes(2, "big")
    return packet("signature", body + b"\0\x08s" * 2 + b"x" * 200)


# Put at the end of a key; whether it is said that something was left out.
SPOILT = {
    "another's subkey": (lambda keys: subkey_packets(keys.export("carol")), None),
    "another's subkey without its signature": (
        lambda keys: subkey_packets(keys.export("carol"))[: -len(_last(subkey_packets(keys.export("carol"))))],
        None,
    ),
    "a subkey of version 6": (lambda keys: packet("subkey", NEW_KEY), "a subkey of version 6 is left out"),
    "a subkey of version 3": (lambda keys: packet("subkey", b"\x03" + NEW_KEY[1:]), "subkey of version 3"),
    "an empty subkey": (lambda keys: packet("subkey", b""), "subkey of version 0"),
    "a subkey of an unknown kind": (lambda keys: packet("subkey", UNKNOWN_KEY), None),
    "a subkey that is cut off": (lambda keys: packet("subkey", b"\x04ab"), "a subkey that is cut off"),
    "a subkey without its number": (lambda keys: packet("subkey", FUTURE_KEY[:-34]), "a subkey that is cut off"),
    "a subkey with a cut number": (lambda keys: packet("subkey", FUTURE_KEY[:-1]), "a subkey that is cut off"),
    "a subkey with something behind it": (lambda keys: packet("subkey", FUTURE_KEY + b"x"), None),
    "a subkey from the future": (lambda keys: packet("subkey", FUTURE_KEY), None),
    "a huge subkey": (lambda keys: packet("subkey", b"\x04" + b"k" * 300_000), "a subkey of 300001 bytes"),
    "a picture of 20 MiB": (lambda keys: packet("attribute", b"a" * (20 << 20)), "a picture of 20971520 bytes"),
    "a picture of 17 MiB": (lambda keys: packet("attribute", b"a" * (17 << 20)), "a picture of 17825792 bytes"),
    "an empty picture": (lambda keys: packet("attribute", b""), None),
    "a long user id": (lambda keys: packet("user id", b"u" * 3000), "a user id of 3000 bytes"),
    "a user id that is no text": (lambda keys: packet("user id", b"\xff\0\x1b[31m"), None),
    "a signature of version 6": (lambda keys: packet("signature", b"\x06" + b"s" * 100), "a signature of version 6"),
    "a signature of version 2": (lambda keys: packet("signature", b"\x02" + b"s" * 100), None),
    "an empty signature": (lambda keys: packet("signature", b""), "a signature of version 0"),
    "a huge signature": (lambda keys: packet("signature", b"\x04" + b"s" * 100_000), "a signature of 100001 bytes"),
    "10,000 certifications by strangers": (lambda keys: b"".join(map(certification, range(10_000))), None),
    "a padding packet": (lambda keys: packet(21, b"p" * 100), None),
    "a trust packet": (lambda keys: packet(12, b"t"), None),
    "a private packet": (lambda keys: packet(61, b"p"), None),
    "a marker": (lambda keys: packet(10, b"PGP"), None),
    "a key of version 6 behind it": (lambda keys: packet("key", NEW_KEY), "a key of version 6 is left out"),
    "a key of version 3 behind it": (
        lambda keys: packet("key", b"\x03" + NEW_KEY[1:]),
        "a key of version 3 is left out",
    ),
    "a huge key behind it": (lambda keys: packet("key", b"\x04" + b"k" * 300_000), "a key of 300001 bytes"),
}


def _last(packets: bytes) -> bytes:
    return list(read_packets(packets))[-1].raw


def good(keys: Keys, ring: Keyring, name: str) -> None:
    for allowed in (None, frozenset({keys[name]})):
        assert verify_detached(DATA, keys.sign(DATA, name), ring, allowed, now_s=now_s()).primary == keys[name]


@pytest.mark.warns
@pytest.mark.parametrize("spoilt", ["mallory", "alice"])
@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_key_stops_neither_others_nor_itself_and_is_named(
    keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str, spoilt: str
) -> None:
    made, said = SPOILT[how]
    file = tmp_path / "ring.gpg"
    others = ["carol", "bob"]
    file.write_bytes(keys.export(spoilt) + made(keys) + b"".join(keys.export(name) for name in others))
    with caplog.at_level(logging.WARNING, "gtfs"):
        ring = load_keyrings([file], tmp_path / "out")
    for frozen in (ring, open_keyring(ring.path)):
        assert frozen.primaries == {keys[name] for name in (spoilt, *others)}
        for name in (spoilt, *others):
            good(keys, frozen, name)
    assert [said in r.getMessage() and str(file) in r.getMessage() for r in caplog.records] == [True] * bool(said)
    if said is not None and "behind it" not in how:
        assert keys[spoilt] in caplog.text
    assert len(ring.path.read_bytes()) < 10_000


def test_nobody_signs_with_a_copy_of_anothers_subkey(keys: Keys, tmp_path: Path) -> None:
    file = tmp_path / "ring.gpg"
    file.write_bytes(keys.export("mallory") + subkey_packets(keys.export("carol")) + keys.export("carol"))
    ring = load_keyrings([file], tmp_path / "out")
    assert set(ring.who_has(next(iter(ring.keys[keys["carol"]].subkeys)))) == {keys["mallory"], keys["carol"]}
    with pytest.raises(BadSignature, match=r"cannot be (?:used|checked)"):
        verify_detached(DATA, keys.sign(DATA, "carol"), ring, frozenset({keys["mallory"]}), now_s=now_s())
    good(keys, ring, "carol")


@pytest.mark.warns
def test_behind_a_key_that_is_cut_off_nothing_is_read_and_it_is_said(
    keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ring.gpg"
    file.write_bytes(keys.export("alice") + keys.export("carol")[:-5])
    ring = load_keyrings([file], tmp_path / "out")
    assert ring.primaries == {keys["alice"]}
    good(keys, ring, "alice")
    assert f"behind the key {keys['alice']}: a packet is cut off" in caplog.text


@pytest.mark.warns
def test_one_bad_file_of_a_directory_stops_no_other(
    keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "a.asc").write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n")
    (directory / "b.gpg").write_bytes(keys.export("bob"))
    ring = load_keyrings([directory], tmp_path / "out")
    good(keys, ring, "bob")
    assert "a.asc" in caplog.text and "left out" in caplog.text


def test_our_own_ring_is_whole_or_refused(keys: Keys, tmp_path: Path) -> None:
    ring = load_keyrings([keys.public], tmp_path / "out")
    ring.path.write_bytes(ring.path.read_bytes()[:-5])
    with pytest.raises(Exception, match="cut off"):
        open_keyring(ring.path)


def test_a_key_whose_owner_signed_it_with_sha1_is_named_as_the_reason(keys: Keys, tmp_path: Path) -> None:
    options = ("--faked-system-time", gpg_time(NOW_S - 30 * DAY_S), "--cert-digest-algo", "SHA1")
    keys._make("old-fashioned", "sign", "never", *options)
    ring = keys.keyring("sha1.gpg", keys.public, _file(tmp_path, keys.export("old-fashioned")))
    with pytest.raises(BadSignature, match=f"the key {keys['old-fashioned']} cannot be used: .* SHA-1"):
        verify_detached(DATA, keys.sign(DATA, "old-fashioned"), ring, None, now_s=now_s())
    good(keys, ring, "alice")


def test_a_key_from_the_future_asks_for_the_clock(keys: Keys, tmp_path: Path) -> None:
    signature = keys.sign(DATA, "alice")
    then_s = NOW_S - 60 * DAY_S  # a clock that is two months behind: before the key was made
    with pytest.raises(BadSignature, match="future"):
        verify_detached(DATA, signature, keys.ring, None, now_s=then_s)
    assert "clock" in str(keys.ring.keys[keys["alice"]].objection(keys["alice"], then_s))


def _file(directory: Path, data: bytes) -> Path:
    path = directory / "key.gpg"
    path.write_bytes(data)
    return path


@pytest.fixture
def designated(keys: Keys, tmp_path: Path) -> Iterator[tuple[bytes, bytes, bytes, Fingerprint]]:
    """A key that bob may revoke: before and after he did, a signature by it, and its fingerprint."""
    made = (
        f"%no-protection\nKey-Type: eddsa\nKey-Curve: ed25519\nKey-Usage: sign\nName-Real: ward\n"
        f"Expire-Date: 0\nRevoker: 22:{keys['bob']}\n%commit\n"
    )
    keys.gpg("--faked-system-time", gpg_time(NOW_S - DAY_S), "--gen-key", data=made.encode())
    listing = keys.gpg("--list-keys", "--with-colons", "ward").decode()
    ward = Fingerprint(next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:")))
    keys.fingerprints["ward"] = ward
    before, signature = keys.export("ward"), keys.sign(DATA, "ward")
    run = ["gpg", "--homedir", str(keys.home), "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]
    done = subprocess.run(
        [*run, "--command-fd", "0", "--desig-revoke", ward], input=b"y\n0\n\ny\n", capture_output=True, check=True
    )
    # gpg 2.4 adds it, and finds it bad when it looks at it once more.
    added = subprocess.run([*run, "--import"], input=done.stdout, capture_output=True, check=False)
    assert b"revocation certificate added" in added.stderr or added.returncode == 0, added.stderr
    yield before, keys.export("ward"), signature, ward
    keys.gpg("--delete-secret-and-public-key", ward)


def test_whom_an_owner_lets_revoke_a_key_can(
    keys: Keys, tmp_path: Path, designated: tuple[bytes, bytes, bytes, Fingerprint]
) -> None:
    before, after, signature, ward = designated
    old = load_keyrings([_file(tmp_path, before + keys.export("bob"))], tmp_path / "old")
    assert verify_detached(DATA, signature, old, None, now_s=now_s()).primary == ward
    new = load_keyrings([_file(tmp_path, after + keys.export("bob"))], tmp_path / "new")
    with pytest.raises(BadSignature, match="revoked"):
        verify_detached(DATA, signature, new, None, now_s=now_s())


def test_a_newer_copy_of_a_key_replaces_the_ring_and_forgets_no_revocation(keys: Keys, tmp_path: Path) -> None:
    before = load_keyrings([_file(tmp_path, keys.export("revoked", "alice"))], tmp_path / "ring")
    given = read_keyrings([_file(tmp_path, keys.unrevoked + keys.export("bob"))])
    ring = freeze(given, before.path, before=before)
    assert ring.primaries == {keys["revoked"], keys["bob"]}
    with pytest.raises(BadSignature, match="revoked"):
        verify_detached(b"data\n", keys.signed_by_revoked, ring, None, now_s=now_s())
    kept = freeze(given, before.path, before=before, stay={keys["alice"]})
    assert kept.primaries == {keys["revoked"], keys["bob"], keys["alice"]}
