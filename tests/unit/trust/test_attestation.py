# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of attestations: one way to write one, and nothing else is read."""

from __future__ import annotations

import dataclasses

import pytest

from gtfs.ids import ObjectId, PackDigest
from gtfs.trust.attestation import Attestation, AttestationRefused, looks_like_attestation, read_attestation

A, B, C = (ObjectId(bytes([n]) * 20) for n in (1, 2, 3))
ONE, TWO = PackDigest(b"\x01" * 32), PackDigest(b"\x02" * 32)
SAID = Attestation(
    "demo", 7, "ab" * 32, 1_800_000_000, 1_802_592_000,
    {b"refs/heads/main": A, b"refs/tags/\xc3\xbc": B}, {A: ONE, B: TWO, C: TWO},
)  # fmt: skip
TEXT = SAID.to_text().encode()


def test_an_attestation_is_read_as_it_is_written() -> None:
    assert read_attestation(TEXT) == SAID
    assert TEXT.decode().splitlines()[:4] == [
        "Format: gtfs-attestation-1", "Repository: demo", "Version: 7", "Catalogue: " + "ab" * 32
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"attestation-1", b"attestation-2"), (b"demo", b"-demo"), (b"Version: 7", b"Version: 07"),
        (b"ab" * 32, b"ab" * 31), (b"Date: 2027-", b"Date: 2207-"), (b"refs/heads/main", b"heads/main"),
        (b"refs/heads/main", b"refs/heads/../main"), (b"%C3%BC", b"%c3%bc"), (b"01" * 32, b"01" * 31),
        (b"02" * 20 + b" " + b"02" * 32, b"02" * 20 + b" " + b"02" * 31),
        (b"Packs:", b"Reels:"), (b"Refs:", b"More: 1\nRefs:"), (b"03" * 20, b"03" * 32),
        (b" " + b"03" * 20, b" " + b"01" * 20), (b"Format", b"Formal"), (b"Refs:\n", b"Refs:\n\n"),
    ],
)  # fmt: skip
def test_another_text_is_refused(old: bytes, new: bytes) -> None:
    changed = TEXT.replace(old, new)
    assert changed != TEXT
    with pytest.raises(AttestationRefused):
        read_attestation(changed)


def test_lines_out_of_order_are_refused() -> None:
    lines = TEXT.splitlines(keepends=True)
    at = lines.index(b"Refs:\n")
    with pytest.raises(AttestationRefused, match="order"):
        read_attestation(b"".join([*lines[: at + 1], lines[at + 2], lines[at + 1], *lines[at + 3 :]]))


def test_what_would_not_be_read_is_not_written() -> None:
    for wrong in (
        dataclasses.replace(SAID, packs={A: ONE}),
        dataclasses.replace(SAID, valid_until_s=SAID.date_s),
        dataclasses.replace(SAID, refs={}, packs={}),
        dataclasses.replace(SAID, packs={A: ONE, B: TWO, ObjectId(b"\x04" * 32): ONE}),
    ):
        with pytest.raises(AttestationRefused):
            wrong.to_text()


def test_more_than_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(AttestationRefused, match="over the limit"):
        read_attestation(b"x" * ((16 << 20) + 1))


def test_an_attestation_is_told_from_a_catalogue_by_its_first_field() -> None:
    head = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n"
    assert looks_like_attestation(head + TEXT)
    assert not looks_like_attestation(head + b"Format: gtfs-catalogue-1\nNote: Format: gtfs-attestation-1\n")
