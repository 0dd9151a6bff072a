# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher's pointer in the DHT: a BEP 44 mutable item whose value is the infohash of a catalogue (BEP 46).

Who holds the ed25519 key decides where a feed leads, never what is believed: that is OpenPGP's part. The sequence
number is the catalogue's version. Any thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gtfs.bencode import encode
from gtfs.ids import InfoHash

_MAX_SEQUENCE: Final = (1 << 63) - 1


@dataclass(frozen=True)
class Pointer:
    """A signed item; `read_pointer` makes only those whose signature holds."""

    key: bytes
    salt: bytes
    sequence: int
    infohash: InfoHash
    value: bytes  # bencoded, as it was signed: there may be more than the infohash in it
    signature: bytes

    @property
    def target(self) -> bytes:
        """Where the DHT keeps it."""
        return target_of(self.key, self.salt)


class SigningKey(Protocol):
    """An ed25519 key of which the secret half is here."""

    public: bytes

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of a signature."""
        ...


def sign_pointer(key: SigningKey, salt: bytes, sequence: int, infohash: InfoHash) -> Pointer:
    """A pointer to this infohash."""
    value = encode({b"ih": infohash})
    return Pointer(key.public, salt, sequence, infohash, value, key.sign(_signed_bytes(salt, sequence, value)))


def target_of(key: bytes, salt: bytes) -> bytes:
    """The DHT address of an item."""
    return hashlib.sha1(key + salt).digest()


def read_pointer(key: bytes, salt: bytes, answer: Mapping[bytes, Any]) -> Pointer | None:
    """The pointer in a node's answer to ``get``; None for anything that this key did not sign for this salt."""
    sequence, signature, value = answer.get(b"seq"), answer.get(b"sig"), answer.get(b"v")
    if not isinstance(sequence, int) or not 0 <= sequence <= _MAX_SEQUENCE:
        return None
    if not isinstance(signature, bytes) or not isinstance(value, dict):
        return None
    infohash = value.get(b"ih")
    if not isinstance(infohash, bytes) or len(infohash) != 20:
        return None
    from cryptography.exceptions import InvalidSignature  # takes long to load, and only what is in the DHT needs it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    # Bencoding is canonical: a value that was not written so does not have its signature any more.
    encoded = encode(value)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _signed_bytes(salt, sequence, encoded))
    except (InvalidSignature, ValueError):
        return None
    return Pointer(key, salt, sequence, InfoHash(infohash), encoded, signature)


def _signed_bytes(salt: bytes, sequence: int, value: bytes) -> bytes:
    salted = b"4:salt%d:%s" % (len(salt), salt) if salt else b""
    return salted + b"3:seqi%de1:v" % sequence + value
