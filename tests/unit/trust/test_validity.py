# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of gpg's list of a key, and when a signature counts by it; gpg itself is asked in tests/compat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.ids import Fingerprint
from gtfs.trust.gpgv import BadSignature, FoundSignature, Standing
from gtfs.trust.packets import Packet, is_whole_signature, revocation_of
from gtfs.trust.publickey import PublicKey
from gtfs.trust.validity import At, Validity, _read_list, judge

P = Fingerprint("A" * 40)
NOW_S = 1_800_000_000
LIST = (
    "tru:t:0:0\npub:e:255:22:AAAAAAAAAAAAAAAA:1577836800:1640908800::-:::c:::\nrvk:::22::::::{b}:80:\n"
    "fpr:::::::::{a}:\nuid:e::::1577836800::X::a <a@x>:::\nsub:r:255:22:CCCCCCCCCCCCCCCC:1577836801::::::s:::\n"
    "fpr:::::::::{c}:\n"
).format(a="A" * 40, b="B" * 40, c="C" * 40)


def test_the_dates_and_revokers_of_each_part_are_read() -> None:
    found = _read_list(LIST.encode())
    assert found == {
        "A" * 40: ("e", 1577836800, 1640908800, {"B" * 40}),
        "C" * 40: ("r", 1577836801, None, frozenset()),
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (":1640908800:", ":20220101T000000:"),
        (":1577836801:", "::"),
        ("sub:r:255:22", "sub:r"),
        ("C" * 40, "A" * 40),
        ("\nuid:e", "\nfpr:::::::::" + "D" * 40 + ":\nuid:e"),
        ("fpr:::::::::", "fpr:"),
    ],
)
def test_a_list_of_another_form_is_not_guessed_at(old: str, new: str) -> None:
    assert old in LIST
    with pytest.raises(BadSignature, match="unknown form"):
        _read_list(LIST.replace(old, new).encode())


@given(st.binary())
def test_any_list_is_read_or_refused(said: bytes) -> None:
    try:
        _read_list(said)
    except BadSignature:
        pass


@given(st.binary(max_size=80))
def test_any_signature_packet_is_whole_or_not_and_claims_something_or_nothing(body: bytes) -> None:
    is_whole_signature(b"\x04\x20\x16" + body)
    revocation_of(Packet(2, b"\x04" + body, b""))


def verdict(at: At, made_s: int, validity: Validity | None, standing: Standing = "recorded") -> str:
    try:
        judge(FoundSignature(P, P, made_s, None, standing), PublicKey(P), validity, at, NOW_S)
    except BadSignature as error:
        return error.reason
    return ""


def test_a_key_counts_from_its_making_until_the_second_of_its_end() -> None:
    life = Validity(1000, 2000)
    assert "before the key" in verdict("made", 999, life)
    assert not verdict("made", 1000, life) and not verdict("made", 1999, life)
    assert "expired on 1970-01-01" in verdict("made", 2000, life)
    assert "has expired" in verdict("now", 1999, life)
    assert not verdict("now", 1999, Validity(1000, NOW_S + 1)) and verdict("now", 1999, Validity(1000, NOW_S))


def test_a_signature_from_the_future_does_not_outlive_its_key() -> None:
    assert "expired" in verdict("now", NOW_S + 200, Validity(1000, NOW_S + 100))
    assert "expired" in verdict("made", NOW_S + 200, Validity(1000, NOW_S + 100))
    assert "in the future" in verdict("made", NOW_S + 301, Validity(1000, None))


def test_a_revoked_key_counts_before_that_at_most_and_never_now() -> None:
    life = Validity(1000, None, 1500, "as superseded")
    assert not verdict("made", 1499, life) and "is revoked" in verdict("made", 1500, life)
    assert "is revoked" in verdict("now", 1499, life)
    assert "is revoked" in verdict("made", 1499, Validity(1000, None, 0, "as compromised"))


def test_what_gpgv_says_and_gpg_does_not_know_refuses() -> None:
    assert "gpg that it has not" in verdict("made", 1500, Validity(1000, None), "expired")
    assert "gpg that it is not" in verdict("made", 1500, Validity(1000, None), "revoked")
    for standing in ("expired", "revoked"):
        assert verdict("now", 1500, None, standing)  # type: ignore[arg-type]
