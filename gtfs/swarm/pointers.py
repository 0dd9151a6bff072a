# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher's pointer in the DHT: a BEP 44 mutable item whose value is the infohash of a catalogue (BEP 46).

Who holds the ed25519 key decides where a feed leads, never what is believed: that is OpenPGP's part. The sequence
number is the catalogue's version. Any thread; the key file is read and written blockingly.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import libtorrent as lt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gtfs.durable import replace_file
from gtfs.errors import GtfsError
from gtfs.ids import InfoHash

SALT_BYTES: Final = 64  # BEP 44
_SEED_BYTES: Final = 32
_MAX_SEQUENCE: Final = (1 << 63) - 1


class BadFeedKey(GtfsError):
    """A feed key that is not there or cannot be used; names the file."""

    exit_code = 3


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


class FeedKey:
    """The secret half of a ``gtfs:`` address."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def point(self, salt: bytes, sequence: int, infohash: InfoHash) -> Pointer:
        """A pointer to this infohash, signed."""
        value: bytes = lt.bencode({b"ih": bytes(infohash)})  # type: ignore[arg-type]
        return Pointer(
            self.public, salt, sequence, infohash, value, self._key.sign(_signed_bytes(salt, sequence, value))
        )


def read_feed_key(path: Path) -> FeedKey | None:
    """The key of a file, None if there is none; raises `BadFeedKey`."""
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise BadFeedKey(f"{path} is not a feed key") from None
    try:
        return FeedKey(bytes.fromhex(text.strip()))
    except ValueError:
        raise BadFeedKey(f"{path} is not a feed key: {_SEED_BYTES} bytes in hex are expected") from None


def make_feed_key(path: Path) -> FeedKey:
    """The key of a file, made at the first time, readable by its owner only."""
    found = read_feed_key(path)
    if found is not None:
        return found
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    seed = os.urandom(_SEED_BYTES)
    replace_file(path, seed.hex().encode() + b"\n", mode=0o600)
    return FeedKey(seed)


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
    # Bencoding is canonical: a value that was not written so does not have its signature any more.
    encoded: bytes = lt.bencode(value)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _signed_bytes(salt, sequence, encoded))
    except (InvalidSignature, ValueError):
        return None
    return Pointer(key, salt, sequence, InfoHash(infohash), encoded, signature)


def _signed_bytes(salt: bytes, sequence: int, value: bytes) -> bytes:
    salted = b"4:salt%d:%s" % (len(salt), salt) if salt else b""
    return salted + b"3:seqi%de1:v" % sequence + value
