# SPDX-License-Identifier: GPL-3.0-or-later
"""The key of a publisher's ``gtfs:`` address: who holds it decides where a feed leads, never what is believed.

Blocking; any thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from gtfs.durable import make_directory, replace_file
from gtfs.errors import Blame, GtfsError

_SEED_BYTES: Final = 32


class BadFeedKey(GtfsError):
    """A feed key that is not there or cannot be used; names the file."""

    fault = Blame.SOURCE


class FeedKey:
    """The secret half of a ``gtfs:`` address."""

    def __init__(self, seed: bytes) -> None:
        # Takes long to load, and a mirror has no such key.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(data)


def address(key: bytes, name: str) -> str:
    """The SOURCE that leads to a publisher's pointer."""
    return f"gtfs:{key.hex()}/{name}"


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
    make_directory(path.parent)
    seed = os.urandom(_SEED_BYTES)
    replace_file(path, seed.hex().encode() + b"\n", mode=0o600)
    return FeedKey(seed)
