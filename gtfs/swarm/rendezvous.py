# SPDX-License-Identifier: GPL-3.0-or-later
"""Which gtfs of several a piece belongs to: whoever knows the same peer ids comes to the same answer without a word.

Rendezvous hashing: every peer id gives every piece a score, and the highest has it. When a peer comes or goes, only
pieces of its own change hands. Pure.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable
from hashlib import shake_128
from typing import Final

from gtfs.version import version

# The clients in BEP 20's form, `-XXnnnn-`. A cache may let go of what it has.
MIRROR: Final = b"gt"
CACHE: Final = b"gc"
_OURS: Final = re.compile(b"-(%b|%b)[0-9A-Z]{4}-" % (MIRROR, CACHE))
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

LEFT_ALONE = 1  # the pieces of each that nobody helps with: most likely they are on their way already
MOST_OWNERS = 16  # with more, each piece would be longer on its way to its owner, and all the others wait for it
SCORE = 4  # bytes


def make_peer_id(is_cache: bool) -> bytes:
    """A peer id for one session, 20 bytes; libtorrent would not tell us the one that it makes."""
    return b"-%b%b-%b" % (CACHE if is_cache else MIRROR, _four_digits(version()), secrets.token_hex(6).encode())


def _four_digits(number: str) -> bytes:
    """A version as BEP 20 has it: ``1.2.10`` is 12A0."""
    parts = [int(part) for part in re.findall(r"\d+", number)[:3]] + [0] * 4
    return "".join(_DIGITS[min(part, len(_DIGITS) - 1)] for part in parts[:4]).encode()


def client_of(peer_id: bytes) -> bytes | None:
    """`MIRROR` or `CACHE`, of whatever version: all of them share by the same rule. None for other programs."""
    found = _OURS.match(peer_id)
    return found[1] if found else None


def scores(peer_id: bytes, pieces: int) -> bytes:
    """How much each piece belongs to that peer, four bytes (big-endian) for each: the same on every machine."""
    return shake_128(peer_id).digest(SCORE * pieces)


def score(of: bytes, piece: int) -> bytes:
    """One piece's entry in a list of `scores`."""
    return of[SCORE * piece : SCORE * (piece + 1)]


class Owners:
    """Which mirror each piece belongs to; ``mine`` and ``others`` are their `scores`.

    Of many mirrors, those with the highest scores of the first piece own all.
    """

    def __init__(self, mine: bytes, others: Collection[bytes]) -> None:
        self._mine = mine
        self._owners = sorted([mine, *others], key=lambda theirs: score(theirs, 0), reverse=True)[:MOST_OWNERS]
        self._me = self._owners.index(mine) if mine in self._owners else -1
        self._found: dict[int, tuple[int, bytes]] = {}

    def share(self, pieces: Iterable[int]) -> tuple[list[int], list[int]]:
        """Our pieces, our first ones first, and those of others that we would help with.

        Whoever helps leaves each owner its first ones.
        """
        owned: dict[int, list[tuple[bytes, int]]] = {}
        for piece in pieces:
            owner, highest = self._found.get(piece) or self._find(piece)
            owned.setdefault(owner, []).append((highest, piece))
        own = [piece for _, piece in sorted(owned.pop(self._me, []), reverse=True)]
        rest = [piece for theirs in owned.values() for _, piece in sorted(theirs, reverse=True)[LEFT_ALONE:]]
        return own, sorted(rest, key=lambda piece: score(self._mine, piece), reverse=True)

    def _find(self, piece: int) -> tuple[int, bytes]:
        highest, owner = max((score(theirs, piece), -who) for who, theirs in enumerate(self._owners))
        self._found[piece] = -owner, highest
        return self._found[piece]
