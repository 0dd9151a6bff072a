# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.trust.packets import (
    SIGNATURE_BLOCK,
    BadPackets,
    claim_of,
    crc24,
    dearmor,
    enarmor,
    key_fingerprint,
    only_signatures,
    read_packets,
)


def signature_packet(sig_class: int = 0, digest: int = 8, subpackets: bytes = b"") -> bytes:
    area = len(subpackets).to_bytes(2, "big") + subpackets
    body = bytes([4, sig_class, 22, digest]) + area + b"\0\0" + b"ab" + b"mpi"
    return bytes([0x88, len(body)]) + body


def test_crc24_of_rfc4880_example() -> None:
    data = base64.b64decode("yDgBO22WxBHv7O8X7O/jygAEzol56iUKiXmV+XmpCtmpqQUKiQrFqclFqUDBovzSvBSFjNSiVHsuAA==")
    assert base64.b64encode(crc24(data).to_bytes(3, "big")) == b"njUN"


@given(st.binary(min_size=1, max_size=300))
def test_armor_round_trip(data: bytes) -> None:
    assert dearmor(enarmor(data, SIGNATURE_BLOCK), SIGNATURE_BLOCK) == data


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (lambda: list(read_packets(data)), lambda: only_signatures(data, 3, 100), lambda: dearmor(data, b"X")):
        try:
            read()
        except BadPackets:
            pass


@given(st.binary(max_size=60))
def test_any_subpackets_are_read_or_refused(area: bytes) -> None:
    try:
        claim_of(next(read_packets(signature_packet(subpackets=area))))
    except BadPackets:
        pass


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a + b"x\n", "after the end"),
        (lambda a: a.replace(b"\n\n", b"\n", 1), "no empty line"),
        (lambda a: a.replace(b"SIGNATURE", b"MESSAGE", 1), "no PGP signature"),
        (lambda a: a[: a.rindex(b"-----END")], "does not end"),
        (lambda a: a.replace(b"\n", b"\r\n"), "no PGP signature"),
    ],
)
def test_sloppy_armor_is_refused(change, reason: str) -> None:
    with pytest.raises(BadPackets, match=reason):
        dearmor(change(enarmor(b"some bytes to carry", SIGNATURE_BLOCK)), SIGNATURE_BLOCK)


def test_wrong_checksum_is_refused() -> None:
    armored = enarmor(b"some bytes", SIGNATURE_BLOCK).split(b"\n")
    armored[-3] = b"=AAAA"
    with pytest.raises(BadPackets, match="checksum"):
        dearmor(b"\n".join(armored), SIGNATURE_BLOCK)


def test_bits_behind_the_last_byte_are_not_passed_over() -> None:
    armored = enarmor(b"some bytes to carry", SIGNATURE_BLOCK)  # of the length 1 modulo 3: four bits are left
    assert b"eQ==\n" in armored
    with pytest.raises(BadPackets, match="not as it is written"):
        dearmor(armored.replace(b"eQ==\n", b"eR==\n"), SIGNATURE_BLOCK)


def test_armor_headers_and_empty_lines_after_the_end_are_allowed() -> None:
    armored = enarmor(b"bytes", SIGNATURE_BLOCK).replace(b"\n\n", b"\nVersion: GnuPG v1\nComment:\n\n", 1)
    assert dearmor(armored + b"\n\n", SIGNATURE_BLOCK) == b"bytes"


def test_packet_lengths_of_all_definite_forms() -> None:
    old = [bytes([0x88, 3]), bytes([0x89, 0, 3]), bytes([0x8A, 0, 0, 0, 3])]
    new = [bytes([0xC2, 3]), bytes([0xC2, 255, 0, 0, 0, 3])]
    for header in old + new:
        (packet,) = read_packets(header + b"abc")
        assert (packet.tag, packet.body, packet.raw) == (2, b"abc", header + b"abc")
    (packet,) = read_packets(bytes([0xC2, 192, 8]) + b"x" * 200)
    assert len(packet.body) == 200


@pytest.mark.parametrize("data", [b"\x8b\x00abc", b"\xc2\xe1ab", b"\x88\x05abc", b"\xc2", b"\x02\x00", b"\xc2\xc0"])
def test_indefinite_partial_or_cut_packets_are_refused(data: bytes) -> None:
    with pytest.raises(BadPackets):
        list(read_packets(data))


def test_claim_prefers_the_whole_fingerprint() -> None:
    key_id = bytes([9, 16]) + bytes(range(8))
    fingerprint = bytes([22, 33, 4]) + bytes(range(20))
    packet = next(read_packets(signature_packet(1, 10, key_id + fingerprint)))
    assert claim_of(packet) == (1, 10, bytes(range(20)).hex().upper())
    packet = next(read_packets(signature_packet(subpackets=key_id)))
    assert claim_of(packet).issuer == bytes(range(8)).hex().upper()


def test_only_signatures_counts_and_measures() -> None:
    one = signature_packet()
    assert len(only_signatures(one * 2, 2, 100)) == 2
    with pytest.raises(BadPackets, match="more than one signature"):
        only_signatures(one * 2, 1, 100)
    with pytest.raises(BadPackets, match="over the limit signature"):
        only_signatures(one, 1, 10)
    with pytest.raises(BadPackets, match="no signature"):
        only_signatures(b"", 1, 10)
    with pytest.raises(BadPackets, match="no version 4"):
        only_signatures(b"\xcb\x03abc", 1, 10)


def test_key_versions_that_gpgv_cannot_use_have_no_fingerprint() -> None:
    assert key_fingerprint(b"\x03abc") is None
    assert len(key_fingerprint(b"\x04abc") or "") == 40
    assert len(key_fingerprint(b"\x05abc") or "") == 64
