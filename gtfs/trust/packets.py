# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenPGP as bytes: armor, packets, fingerprints and what a signature packet claims (RFC 4880, strictly).

It finds out what is there, so that gpgv is handed exactly one thing at a time; it verifies nothing. Pure
functions, any thread.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint

SIGNATURE: Final = 2
SECRET_KEY: Final = 5
PUBLIC_KEY: Final = 6
SECRET_SUBKEY: Final = 7
USER_ID: Final = 13
PUBLIC_SUBKEY: Final = 14
USER_ATTRIBUTE: Final = 17

SIGNATURE_BLOCK: Final = b"SIGNATURE"
KEY_BLOCK: Final = b"PUBLIC KEY BLOCK"

STRONG_DIGESTS: Final = {8: "SHA256", 9: "SHA384", 10: "SHA512"}  # RFC 4880 §9.4

_ARMOR_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]*:(?: .*)?\Z")
_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]{1,76}={0,2}\Z")
_CRC_LINE = re.compile(rb"=[A-Za-z0-9+/]{4}\Z")


class BadPackets(GtfsError):
    """Bytes or armor that are not the plain run of OpenPGP packets that was expected."""

    fault = Blame.DATA

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Packet(NamedTuple):
    """One packet: its tag, its body, and its bytes with the header."""

    tag: int
    body: bytes
    raw: bytes


class SignatureClaim(NamedTuple):
    """What a signature packet says of itself; nothing of it is proven."""

    sig_class: int
    digest: int
    issuer: str  # fingerprint (40 or 64 hex digits) or, without one, key id (16 hex digits), or ""


def _crc24_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 16
        for _ in range(8):
            crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
        table.append(crc & 0xFFFFFF)
    return table


_CRC24: Final = _crc24_table()


def crc24(data: bytes) -> int:
    """The armor checksum (RFC 4880 §6.1)."""
    crc = 0xB704CE
    for byte in data:
        crc = crc << 8 & 0xFFFFFF ^ _CRC24[crc >> 16 ^ byte]
    return crc


def _dearmor_at(lines: list[bytes], at: int, label: bytes) -> tuple[bytes, int]:
    """The bytes in the armor that begins at line ``at``, and the index of the line after its END."""
    if lines[at] != b"-----BEGIN PGP " + label + b"-----":
        raise BadPackets(f"no PGP {label.decode().lower()} where one should begin")
    at += 1
    while at < len(lines) and _ARMOR_HEADER.match(lines[at]):
        at += 1
    if at >= len(lines) or lines[at].strip(b" \t"):
        raise BadPackets("the armor has no empty line before its data")
    at += 1
    text = bytearray()
    while at < len(lines) and _BASE64_LINE.match(lines[at]) and not text.endswith(b"="):
        text += lines[at]
        at += 1
    crc = None
    if at < len(lines) and _CRC_LINE.match(lines[at]):
        crc = binascii.a2b_base64(lines[at][1:])
        at += 1
    if at >= len(lines) or lines[at] != b"-----END PGP " + label + b"-----":
        raise BadPackets("the armor does not end as it should")
    try:
        data = binascii.a2b_base64(bytes(text), strict_mode=True)
    except binascii.Error as error:
        raise BadPackets(f"the armor is no base64: {error}") from None
    if binascii.b2a_base64(data, newline=False) != text:  # bits behind the last byte, which say nothing
        raise BadPackets("the armor's base64 is not as it is written")
    if crc is not None and crc != crc24(data).to_bytes(3, "big"):
        raise BadPackets("the armor's checksum is wrong")
    return data, at + 1


def dearmor(armored: bytes, label: bytes) -> bytes:
    """The bytes in exactly one armor block; only empty lines may follow it. Raises `BadPackets`."""
    lines = armored.split(b"\n")
    data, at = _dearmor_at(lines, 0, label)
    if any(lines[at:]):
        raise BadPackets("there is text after the end of the armor")
    return data


def enarmor(data: bytes, label: bytes) -> bytes:
    """One armor block around ``data``, as gpg writes it."""
    lines = [binascii.b2a_base64(data[at : at + 48]) for at in range(0, len(data), 48)]
    crc = binascii.b2a_base64(crc24(data).to_bytes(3, "big"))
    ends = (b"-----BEGIN PGP " + label + b"-----\n\n", b"-----END PGP " + label + b"-----\n")
    return ends[0] + b"".join(lines) + b"=" + crc + ends[1]


def _length_old(data: bytes, at: int, kind: int) -> tuple[int, int]:
    if kind == 3:
        raise BadPackets("a packet of indeterminate length")
    octets = 1 << kind
    return int.from_bytes(data[at : at + octets], "big"), at + octets


def _length_new(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first < 192:
        return first, at + 1
    if first < 224:
        if at + 1 >= len(data):
            raise BadPackets("a packet is cut off")
        return ((first - 192) << 8) + data[at + 1] + 192, at + 2
    if first < 255:
        raise BadPackets("a packet of partial length")
    return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5


def read_packets(data: bytes) -> Iterator[Packet]:
    """Every packet of a run that must end where the last one ends; raises `BadPackets`."""
    at = 0
    while at < len(data):
        header = data[at]
        if not header & 0x80 or at + 1 >= len(data):
            raise BadPackets("this is no OpenPGP packet")
        if header & 0x40:
            tag = header & 0x3F
            length, body = _length_new(data, at + 1)
        else:
            tag = header >> 2 & 0x0F
            length, body = _length_old(data, at + 1, header & 3)
        end = body + length
        if end > len(data):
            raise BadPackets("a packet is cut off")
        yield Packet(tag, data[body:end], data[at:end])
        at = end


def key_fingerprint(body: bytes) -> Fingerprint | None:
    """The fingerprint of a public (sub)key packet of version 4 or 5; None for versions that gpgv cannot use.

    Version 4 counts at most 65,535 bytes.
    """
    if body[:1] == b"\x04" and len(body) <= 0xFFFF:
        return Fingerprint(hashlib.sha1(b"\x99" + struct.pack(">H", len(body)) + body).hexdigest().upper())
    if body[:1] == b"\x05":
        return Fingerprint(hashlib.sha256(b"\x9a" + struct.pack(">I", len(body)) + body).hexdigest().upper())
    return None


# How many numbers (MPIs) a public key of a kind has, and whether a curve stands before them and a KDF behind them.
_MATERIAL: Final = {
    1: (2, False, False), 2: (2, False, False), 3: (2, False, False), 16: (3, False, False), 20: (3, False, False),
    17: (4, False, False), 18: (1, True, True), 19: (1, True, False), 22: (1, True, False),
}  # fmt: skip


def is_whole_key(body: bytes) -> bool:
    """Whether a public (sub)key packet holds what its kind of key has, where the kind is known (RFC 4880 §5.5.2)."""
    at = 6 if body[:1] == b"\x04" else 10
    if len(body) < at:
        return False
    numbers, has_curve, has_kdf = _MATERIAL.get(body[5], (0, False, False))
    sized = [has_curve, *[True] * numbers, has_kdf]
    for place, is_there in enumerate(sized):
        if not is_there:
            continue
        if at >= len(body):
            return False
        # A curve and a KDF have a length in bytes, a number one in bits.
        is_number = 0 < place <= numbers
        length = (int.from_bytes(body[at : at + 2], "big") + 7) // 8 + 2 if is_number else body[at] + 1
        at += length
    return at <= len(body)


_NUMBERS: Final = {
    1: 1,
    3: 1,
    16: 2,
    17: 2,
    19: 2,
    20: 2,
    22: 2,
}  # of a signature, by its kind of key (RFC 4880 §5.2.2)


def is_whole_signature(body: bytes) -> bool:
    """Whether a signature packet of version 4 or 5 holds what its kind of key makes, where the kind is known."""
    hashed_end = 6 + int.from_bytes(body[4:6], "big")
    at = hashed_end + 2 + int.from_bytes(body[hashed_end : hashed_end + 2], "big") + 2
    if len(body) < at:
        return False
    for _ in range(_NUMBERS.get(body[2], 0)):
        if at + 2 > len(body):
            return False
        at += 2 + (int.from_bytes(body[at : at + 2], "big") + 7) // 8
    return at <= len(body)


def key_id(fingerprint: str) -> str:
    """The 16 digits by which a signature may name the key of this fingerprint."""
    return fingerprint[-16:] if len(fingerprint) == 40 else fingerprint[:16]


def _subpackets(area: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(area):
        first = area[at]
        if first < 192:
            length, at = first, at + 1
        elif first < 255:
            length, at = ((first - 192) << 8) + int.from_bytes(area[at + 1 : at + 2], "big") + 192, at + 2
        else:
            length, at = int.from_bytes(area[at + 1 : at + 5], "big"), at + 5
        if length == 0 or at + length > len(area):
            raise BadPackets("a signature subpacket is cut off")
        yield area[at] & 0x7F, area[at + 1 : at + length]
        at += length


def claim_of(packet: Packet) -> SignatureClaim:
    """What a version 4 or 5 signature packet says of itself; raises `BadPackets` for anything else."""
    body = packet.body
    if packet.tag != SIGNATURE or body[:1] not in (b"\x04", b"\x05") or len(body) < 6:
        raise BadPackets("this is no version 4 OpenPGP signature")
    hashed_end = 6 + int.from_bytes(body[4:6], "big")
    unhashed_end = hashed_end + 2 + int.from_bytes(body[hashed_end : hashed_end + 2], "big")
    if unhashed_end > len(body):
        raise BadPackets("a signature's subpackets are cut off")
    issuer = ""
    for area in (body[6:hashed_end], body[hashed_end + 2 : unhashed_end]):
        for kind, value in _subpackets(area):
            if kind == 33 and len(value) in (21, 33):  # issuer fingerprint, after a version octet
                issuer = issuer if len(issuer) >= 40 else value[1:].hex().upper()
            elif kind == 16 and len(value) == 8:  # issuer key id
                issuer = issuer or value.hex().upper()
    return SignatureClaim(body[1], body[3], issuer)


def only_issuer_of(packet: Packet) -> str | None:
    """The fingerprint that a signature packet names, if it names no other key in any way; raises `BadPackets`."""
    hashed_end = 6 + int.from_bytes(packet.body[4:6], "big")
    unhashed_end = hashed_end + 2 + int.from_bytes(packet.body[hashed_end : hashed_end + 2], "big")
    fingerprint = claim_of(packet).issuer
    for area in (packet.body[6:hashed_end], packet.body[hashed_end + 2 : unhashed_end]):
        for kind, value in _subpackets(area):
            if (kind == 33 and value[1:].hex().upper() != fingerprint) or (
                kind == 16 and value.hex().upper() != key_id(fingerprint)
            ):
                return None
    return fingerprint if len(fingerprint) >= 40 else None


def revokers_of(packet: Packet) -> list[Fingerprint]:
    """Whom a self-signature lets revoke its key (RFC 4880 §5.2.3.15)."""
    hashed = packet.body[6 : 6 + int.from_bytes(packet.body[4:6], "big")]
    return [
        Fingerprint(value[2:].hex().upper())
        for kind, value in _subpackets(hashed)
        if kind == 12 and len(value) in (22, 34)
    ]


class Revocation(NamedTuple):
    """What a revocation says of itself: when it was made (s), and why (RFC 4880 §5.2.3.23); None: it does not say."""

    made_s: int | None
    code: int | None


def revocation_of(packet: Packet) -> Revocation:
    """The claim of a revocation signature of any version; its unhashed part is signed by nobody."""
    body = packet.body
    if body[:1] not in (b"\x04", b"\x05"):
        return Revocation(None, None)
    found: dict[int, list[bytes]] = {}
    try:
        for kind, value in _subpackets(body[6 : 6 + int.from_bytes(body[4:6], "big")]):
            found.setdefault(kind, []).append(value)
    except BadPackets:
        return Revocation(None, None)
    times, reasons = found.get(2, []), found.get(29, [])
    made_s = int.from_bytes(times[0], "big") if len(times) == 1 and len(times[0]) == 4 else None
    return Revocation(made_s, reasons[0][0] if len(reasons) == 1 and reasons[0] else None)


def only_signatures(data: bytes, most: int, most_bytes: int) -> list[Packet]:
    """The 1 to ``most`` signature packets that ``data`` consists of; raises `BadPackets`."""
    packets = []
    for packet in read_packets(data):
        claim_of(packet)
        if len(packet.raw) > most_bytes:
            raise BadPackets(f"over the limit signature: {len(packet.raw)} bytes where {most_bytes} are allowed")
        packets.append(packet)
        if len(packets) > most:
            raise BadPackets("more than one signature" if most == 1 else f"more than {most} signatures")
    if not packets:
        raise BadPackets("no signature in the armor")
    return packets
