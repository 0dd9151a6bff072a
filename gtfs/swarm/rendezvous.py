# SPDX-License-Identifier: GPL-3.0-or-later
"""Which gtfs of several a piece belongs to: whoever knows the same peer ids comes to the same answer without a word.

Rendezvous hashing: every peer id gives every piece a score, and the highest has it. When a peer comes or goes, only
pieces of its own change hands. Pure.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from hashlib import shake_128
from typing import Final

# How the peer ids of gtfs begin, in BEP 20's form; a cache may let go of what it has.
MIRROR_ID: Final = b"-gt0100-"
CACHE_ID: Final = b"-gc0100-"

LEFT_ALONE = 3  # the pieces of each that nobody helps with: most likely they are on their way already
SCORE = 4  # bytes


def make_peer_id(is_cache: bool) -> bytes:
    """A peer id for one session, 20 bytes; libtorrent would not tell us the one that it makes."""
    return (CACHE_ID if is_cache else MIRROR_ID) + secrets.token_hex(6).encode()


def scores(peer_id: bytes, pieces: int) -> bytes:
    """How much each piece belongs to that peer, four bytes (big-endian) for each: the same on every machine."""
    return shake_128(peer_id).digest(SCORE * pieces)


def score(of: bytes, piece: int) -> bytes:
    """One piece's entry in a list of `scores`."""
    return of[SCORE * piece : SCORE * (piece + 1)]


class Owners:
    """Which mirror each piece belongs to; ``mine`` and ``others`` are their `scores`."""

    def __init__(self, mine: bytes, others: Collection[bytes]) -> None:
        self._mine = mine
        self._everybody = [mine, *others]
        self._found: dict[int, tuple[int, bytes]] = {}

    def share(self, pieces: Iterable[int]) -> tuple[list[int], list[int]]:
        """Our pieces, our first ones first, and those of others that we would help with.

        Whoever helps leaves each owner its first ones.
        """
        owned: dict[int, list[tuple[bytes, int]]] = {}
        for piece in pieces:
            owner, highest = self._found.get(piece) or self._find(piece)
            owned.setdefault(owner, []).append((highest, piece))
        own = [piece for _, piece in sorted(owned.pop(0, []), reverse=True)]
        rest = [piece for theirs in owned.values() for _, piece in sorted(theirs, reverse=True)[LEFT_ALONE:]]
        return own, sorted(rest, key=lambda piece: score(self._mine, piece), reverse=True)

    def _find(self, piece: int) -> tuple[int, bytes]:
        highest, owner = max((score(theirs, piece), -who) for who, theirs in enumerate(self._everybody))
        self._found[piece] = -owner, highest
        return self._found[piece]
