# SPDX-License-Identifier: GPL-3.0-or-later
"""The bell of a publisher: a torrent of which a piece becomes known with each version of its catalogue (design.md §11).

Its hashes stand in the torrent that a signed catalogue names, its bytes follow from a secret: nobody else can bring a
piece, and whoever has one of a later version knows that this version exists. Pure functions, any thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from gtfs.ids import InfoHash
from gtfs.metainfo import metainfo_of
from gtfs.state.feedkey import FeedKey

BELL_FILE: Final = "bell"  # the name in the torrent
PIECES: Final = 64  # that one torrent tells of
PIECE_BYTES: Final = 32  # as much as nobody guesses
BELL_BYTES: Final = PIECES * PIECE_BYTES


def next_piece(version: int) -> int:
    """The piece, of the bell that the catalogue of ``version`` names, that comes with the version after it."""
    return version % PIECES


def piece_of(key: FeedKey, repository: str, version: int) -> bytes:
    """The piece that comes with this version."""
    secret = key.sign(f"gtfs-bell 1\n{repository}\n{version}\n".encode())  # Ed25519: the same each time
    return hashlib.shake_256(secret).digest(PIECE_BYTES)


def make_bell(key: FeedKey, repository: str, version: int) -> tuple[bytes, InfoHash]:
    """The .torrent, and its infohash, that the catalogue of ``version`` names."""

    def pieces() -> Iterator[bytes]:
        first = version - next_piece(version) + 1
        for told in range(first, first + PIECES):
            yield piece_of(key, repository, told)

    return metainfo_of(BELL_FILE, BELL_BYTES, pieces(), PIECE_BYTES)
