# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that somebody has made large: how often gpg and gpgv are asked, and how much they are shown, stays bounded."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from keys import now_s, packet
from owner import DATA, EARLY, SUPERSEDED, Owner, revoked

from gtfs.ids import SHA1
from gtfs.repo.repository import create_repository
from gtfs.state import ring as ring_state
from gtfs.state.state import State
from gtfs.trust import child, gpgv, publicgpg, validity
from gtfs.trust.armor import read_key_blocks
from gtfs.trust.child import InMemory
from gtfs.trust.keyfacts import read_facts
from gtfs.trust.keyring import BadKeyring, Keyring, freeze, parse_keys
from gtfs.trust.packets import KEY_BLOCK, enarmor, key_fingerprint, read_packets
from gtfs.trust.publickey import OWN_SIGNATURES, REVOKERS
from gtfs.trust.verify import BadSignature, find_detached, verify_detached

REVOCATIONS = 5000


@pytest.fixture(scope="module")
def owner() -> Iterator[Owner]:
    made = Owner(Path(tempfile.mkdtemp(prefix="gtfs-floods-", dir="/tmp")))
    yield made
    made.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Each run of a program, and how many bytes of files it was shown."""
    runs: list[tuple[str, int]] = []
    real = child.run_child

    def noted(command: Sequence[str | InMemory], *args: Any, **options: Any) -> tuple[int, bytes]:
        runs.append((str(command[0]), sum(len(word.data) for word in command if isinstance(word, InMemory))))
        return real(command, *args, **options)

    for module in (gpgv, validity, publicgpg):
        monkeypatch.setattr(module, "run_child", noted)
    return runs


def forged(signature: bytes, count: int) -> list[bytes]:
    """Signatures that claim to be this one, each with other numbers."""
    return [signature[:-4] + number.to_bytes(4, "big") for number in range(count)]


def ring_with(key: bytes, *others: bytes, directory: Path) -> Keyring:
    return freeze(parse_keys(key + b"".join(others), "test", lambda _: None), directory / "ring.gpg")


def certified(key: bytes, count: int) -> bytes:
    """The key with so many forged certifications of its own."""
    primary, user, own, *rest = (p.raw for p in read_packets(key))
    return b"".join([primary, user, own, *forged(own, count), *rest])


def with_revokers(key: bytes, count: int) -> bytes:
    """The key with a forged signature that lets so many others revoke it."""
    first, *rest = read_packets(key)
    fingerprint = key_fingerprint(first.body)
    assert fingerprint is not None
    issuer = b"\x16\x21\x04" + bytes.fromhex(fingerprint)
    names = b"".join(b"\x17\x0c\x80\x16" + number.to_bytes(20, "big") for number in range(count))
    hashed = issuer + names
    body = bytes([4, 0x1F, 22, 8]) + len(hashed).to_bytes(2, "big") + hashed + b"\0\0ab" + b"\0\x08s" * 2
    return b"".join([first.raw, packet("signature", body), *(p.raw for p in rest)])


FLOODS = {
    "revocations": lambda w: revoked(w.export("plain"), *forged(w.revocation("plain", SUPERSEDED), REVOCATIONS)),
    "certifications of its own": lambda w: certified(w.export("plain"), OWN_SIGNATURES),
    "revokers": lambda w: with_revokers(w.export("plain"), REVOKERS + 1),
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flooded_key_is_refused_in_words_and_no_program_is_asked(
    owner: Owner, tmp_path: Path, asked: list[tuple[str, int]], what: str
) -> None:
    ring = ring_with(FLOODS[what](owner), owner.export("other"), directory=tmp_path)
    with pytest.raises(BadSignature, match=r"over the limit .* add a clean copy"):
        verify_detached(DATA, owner.sign_with("plain", EARLY), ring, None, now_s=now_s(), at="made")
    with pytest.raises(BadSignature, match="over the limit"):
        ring.validity(owner["plain"], owner["plain"])
    assert asked == []
    # The other keys of the ring are as they were.
    assert verify_detached(DATA, owner.sign_with("other", EARLY), ring, None, now_s=now_s(), at="made")
    assert read_facts(ring.keys).keys() == {owner["other"]}
    assert all(shown < 10_000 for _, shown in asked)


def test_many_forged_revocations_are_looked_at_once_and_never_by_gpgv(
    owner: Owner, tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    some = OWN_SIGNATURES - 10
    flood = forged(owner.revocation("plain", SUPERSEDED), some)
    ring = ring_with(revoked(owner.export("plain"), *flood), directory=tmp_path)
    signature = owner.sign_with("plain", EARLY)
    for _ in range(3):
        assert verify_detached(DATA, signature, ring, None, now_s=now_s(), at="made")
    assert [program for program, _ in asked] == ["gpgv", "gpg", "gpg", "gpgv", "gpgv"]
    assert all(shown < 2000 for program, shown in asked if program == "gpgv")


def test_the_genuine_revocation_among_many_is_found_in_a_few_runs(
    owner: Owner, tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    flood = forged(owner.revocation("plain", SUPERSEDED), OWN_SIGNATURES - 10)
    genuine = owner.revocation("plain", SUPERSEDED)
    ring = ring_with(revoked(owner.export("plain"), *flood, genuine), directory=tmp_path)
    with pytest.raises(BadSignature, match="is revoked as superseded"):
        verify_detached(DATA, owner.sign_with("plain", EARLY), ring, None, now_s=now_s(), at="now")
    assert len(asked) <= 3 + OWN_SIGNATURES.bit_length()


def test_revokers_that_are_flooded_are_shown_to_nobody(owner: Owner, tmp_path: Path) -> None:
    other = revoked(owner.export("other"), *forged(owner.revocation("other", SUPERSEDED), REVOCATIONS))
    first, *rest = read_packets(owner.export("plain"))
    issuer = b"\x16\x21\x04" + bytes.fromhex(owner["plain"])
    hashed = issuer + b"\x17\x0c\x80\x16" + bytes.fromhex(owner["other"])
    body = bytes([4, 0x1F, 22, 8]) + len(hashed).to_bytes(2, "big") + hashed + b"\0\0ab" + b"\0\x08s" * 2
    plain = b"".join([first.raw, packet("signature", body), *(p.raw for p in rest)])
    ring = ring_with(plain, other, directory=tmp_path)
    assert ring.keys[owner["plain"]].revokers() == [owner["other"]]
    assert len(ring.alone(owner["plain"], owner["plain"])) < 2000


def test_a_check_names_the_flooded_key(owner: Owner, tmp_path: Path) -> None:
    (tmp_path / "k.gpg").write_bytes(FLOODS["revocations"](owner))
    with State(create_repository(tmp_path / "r.git", SHA1)) as state:
        ring_state.add(state, [tmp_path / "k.gpg"])
        (key,) = ring_state.describe_ring(state)["keys"]
        assert key["trouble"].startswith(f"over the limit of {OWN_SIGNATURES} signatures")
        # As it says: away with it, and a clean copy.
        ring_state.remove(state, [owner["plain"]], force=False)
        (tmp_path / "k.gpg").write_bytes(owner.export("plain"))
        ring_state.add(state, [tmp_path / "k.gpg"])
        (key,) = ring_state.describe_ring(state)["keys"]
        assert key["trouble"] is None


def test_a_key_with_any_byte_changed_is_read_or_refused_and_lets_nothing_else_in(owner: Owner, tmp_path: Path) -> None:
    key, signature = owner.export("plain"), owner.sign_with("plain", EARLY)
    seed, wrong = random.Random(11), owner.sign_with("other", EARLY)
    for at in range(len(key)):
        changed = bytearray(key)
        changed[at] ^= 1 << seed.randrange(8)
        try:
            ring = ring_with(bytes(changed), directory=tmp_path)
        except BadKeyring:
            continue
        for by in (signature, wrong):
            try:
                found = find_detached(DATA, by, ring, None, now_s=now_s())
            except BadSignature:
                continue
            assert found.primary == owner["plain"] and by is signature


def test_bytes_of_any_form_are_keys_or_are_refused() -> None:
    seed = random.Random(12)
    for _ in range(2000):
        data = bytes([seed.choice((0x99, 0x98, 0xC6, 0xB4, 0xCD, 0x88, 0xC2))]) + seed.randbytes(seed.randrange(60))
        for form in (data, enarmor(data, KEY_BLOCK), data[:1] * 3 + os.urandom(20)):
            read_key_blocks(form)
            with_or_without(form)


def with_or_without(data: bytes) -> None:
    try:
        for key in parse_keys(data, "test", lambda _: None).values():
            key.to_bytes()
            key.flood()
            key.objection(key.fingerprint, 0)
    except BadKeyring:
        return
