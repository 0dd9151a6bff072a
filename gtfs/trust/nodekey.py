# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's own key, ``keys/node.asc``: an ed25519 key of OpenPGP that signs in this process. Any thread.

What it says is of RFC 4880 with RFC 9580's EdDSALegacy, as gpg makes it, and for gpgv and gpg to check. A gpg for each
signature would be a dozen programs for a new mirror, and an agent for each as long as its node runs.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from gtfs.durable import make_directory, replace_file
from gtfs.ids import Fingerprint
from gtfs.trust.packets import (
    KEY_BLOCK,
    PUBLIC_KEY,
    SECRET_KEY,
    SIGNATURE,
    SIGNATURE_BLOCK,
    USER_ID,
    BadPackets,
    Packet,
    dearmor,
    enarmor,
    key_fingerprint,
    read_packets,
)
from gtfs.trust.sign import DIGEST, SigningFailed
from gtfs.trust.verify import LINE_BYTES, BadSignature, split_clearsigned

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SECRET_BLOCK: Final = b"PRIVATE KEY BLOCK"
_EDDSA: Final = 22
_CURVE: Final = bytes.fromhex("092b06010401da470f01")  # its length, and its OID
_POINT: Final = _CURVE + struct.pack(">HB", 263, 0x40)  # before the 32 bytes of a point in its plain form
_KEY_BYTES: Final = 32
_HEAD_BYTES: Final = 6  # of a key's packet: version, time, algorithm
_PLAIN: Final = b"\0"  # a secret that no passphrase protects
_SHA512: Final = 10
_DOCUMENT, _TEXT, _CERTIFICATION = 0x00, 0x01, 0x13  # classes of signatures, RFC 4880 §5.2.1
_USER: Final = b"gtfs node"
_MAY_CERTIFY_AND_SIGN: Final = b"\x03"


class _Made(NamedTuple):
    """A key as it is kept."""

    public: bytes  # the body of its packet
    seed: bytes
    rest: tuple[bytes, ...]  # its user id, and what it signed of that


class NodeKey:
    """A key that can sign; made by `read_node_key`."""

    def __init__(self, made: _Made) -> None:
        found = key_fingerprint(made.public)
        assert found is not None
        self.fingerprint: Fingerprint = found
        self._made = made

    def clearsign(self, text: str) -> bytes:
        """The text clear-signed, UTF-8; raises `SigningFailed` for lines that a reader would change or cut."""
        data = text.encode()
        if not data.endswith(b"\n"):
            raise SigningFailed("a text to sign must end with a newline")
        lines = data[:-1].split(b"\n")
        if any(len(line) > LINE_BYTES for line in lines):
            raise SigningFailed(f"over the limit line: a line has more than {LINE_BYTES} bytes")
        shown = b"".join((b"- " if line.startswith(b"-") else b"") + line + b"\n" for line in lines)
        signature = self._signed(_TEXT, b"\r\n".join(lines))
        head = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: " + DIGEST.encode() + b"\n\n"
        document = head + shown + signature
        try:
            if split_clearsigned(document)[0] != data:
                raise SigningFailed("a line of the text ends in white space")
        except BadSignature as error:
            raise SigningFailed(f"the text cannot be clear-signed: {error.reason}") from None
        return document

    def detach_sign(self, data: bytes) -> bytes:
        """An armored detached signature (class 00) over ``data``; raises `SigningFailed`."""
        return self._signed(_DOCUMENT, data)

    def public_key(self) -> bytes:
        """The armored public half, for the keyrings of others."""
        return enarmor(_packet(PUBLIC_KEY, self._made.public) + b"".join(self._made.rest), KEY_BLOCK)

    def _signed(self, kind: int, data: bytes) -> bytes:
        now_s = int(time.time())
        if now_s < struct.unpack(">I", self._made.public[1:5])[0]:
            raise SigningFailed(
                "the node's key is younger than this machine's clock says; is the clock right? Then it was ahead as "
                "the key was made: move gtfs/keys/node.asc in the repository away, and a new one is made"
            )
        return enarmor(_signature(self._made.public, self._made.seed, kind, data, now_s), SIGNATURE_BLOCK)


def make_node_key(path: Path) -> Fingerprint:
    """The fingerprint of the node's own key, made now if ``keys/node.asc`` does not exist yet.

    Raises `SigningFailed`, OSError.
    """
    if not path.exists():
        make_directory(path.parent)
        seed, now_s = os.urandom(_KEY_BYTES), int(time.time())
        public = struct.pack(">BIB", 4, now_s, _EDDSA) + _POINT + _point_of(seed)
        told = b"\x99" + struct.pack(">H", len(public)) + public + b"\xb4" + struct.pack(">I", len(_USER)) + _USER
        more = [(27, _MAY_CERTIFY_AND_SIGN), (21, bytes([_SHA512, 9, 8]))]
        certified = _signature(public, seed, _CERTIFICATION, told, now_s, more)
        number = _number(seed)
        secret = public + _PLAIN + number + struct.pack(">H", sum(number) & 0xFFFF)
        packets = _packet(SECRET_KEY, secret) + _packet(USER_ID, _USER) + certified
        replace_file(path, enarmor(packets, _SECRET_BLOCK), 0o600)
    return read_node_key(path).fingerprint


def read_node_key(path: Path) -> NodeKey:
    """The node's own key; raises `SigningFailed`."""
    try:
        armored = path.read_bytes()
    except OSError as error:
        raise SigningFailed(f"the node's key {path} cannot be read: {error.strerror}") from error
    try:
        return NodeKey(_read([*read_packets(dearmor(armored, _SECRET_BLOCK))]))
    except BadPackets as error:
        raise SigningFailed(
            f"the node's key {path} is damaged ({error.reason}); move it away and a new one is made"
        ) from None


def _read(packets: Sequence[Packet]) -> _Made:
    """What a key block holds; raises `BadPackets`."""
    if not packets or packets[0].tag != SECRET_KEY:
        raise BadPackets("it does not begin with a secret key")
    body, at = packets[0].body, _HEAD_BYTES + len(_POINT) + _KEY_BYTES
    public, secret = body[:at], body[at:]
    number, checksum = secret[1:-2], secret[-2:]
    if body[:1] != b"\x04" or body[5:6] != bytes([_EDDSA]) or not public[_HEAD_BYTES:].startswith(_POINT):
        raise BadPackets("it is no ed25519 key of version 4")
    if secret[:1] != _PLAIN:
        raise BadPackets("a passphrase protects it")
    seed = number[2:].rjust(_KEY_BYTES, b"\0")
    if len(seed) != _KEY_BYTES or number != _number(seed) or checksum != struct.pack(">H", sum(number) & 0xFFFF):
        raise BadPackets("its secret number is spoilt")
    if _point_of(seed) != public[-_KEY_BYTES:]:
        raise BadPackets("its halves do not belong together")
    rest = tuple(packet.raw for packet in packets[1:])
    if [packet.tag for packet in packets[1:3]] != [USER_ID, SIGNATURE]:
        raise BadPackets("it has no user id that it signed")
    return _Made(public, seed, rest)


def _secret_half(seed: bytes) -> Ed25519PrivateKey:
    # Takes long to load, and a node signs only when something has come in.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


def _point_of(seed: bytes) -> bytes:
    return _secret_half(seed).public_key().public_bytes_raw()


def _signature(
    public: bytes, seed: bytes, kind: int, data: bytes, now_s: int, more: Sequence[tuple[int, bytes]] = ()
) -> bytes:
    """The packet of a signature of version 4 (RFC 4880 §5.2.3 and §5.2.4)."""
    fingerprint = bytes.fromhex(key_fingerprint(public) or "")
    hashed = b"".join(
        _subpacket(number, value)
        for number, value in [(33, b"\x04" + fingerprint), (2, struct.pack(">I", now_s)), *more]
    )
    head = struct.pack(">BBBBH", 4, kind, _EDDSA, _SHA512, len(hashed)) + hashed
    digest = hashlib.sha512(data + head + struct.pack(">BBI", 4, 0xFF, len(head))).digest()
    made = _secret_half(seed).sign(digest)
    issuer = _subpacket(16, fingerprint[-8:])
    body = head + struct.pack(">H", len(issuer)) + issuer + digest[:2]
    return _packet(SIGNATURE, body + _number(made[:_KEY_BYTES]) + _number(made[_KEY_BYTES:]))


def _subpacket(kind: int, value: bytes) -> bytes:
    return bytes([len(value) + 1, kind]) + value


def _packet(tag: int, body: bytes) -> bytes:
    """With a header of the old form, as gpg writes it."""
    if len(body) < 256:
        return bytes([0x80 | tag << 2, len(body)]) + body
    return bytes([0x81 | tag << 2]) + struct.pack(">H", len(body)) + body


def _number(data: bytes) -> bytes:
    """As an MPI, which has no leading zeros (RFC 4880 §3.2)."""
    value = int.from_bytes(data, "big")
    return struct.pack(">H", value.bit_length()) + value.to_bytes((value.bit_length() + 7) // 8, "big")
