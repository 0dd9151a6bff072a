# SPDX-License-Identifier: GPL-3.0-or-later
"""Which gtfs of several a piece belongs to: whoever knows the same peer ids comes to the same answer without a word.

Rendezvous hashing: every peer id gives every piece a score, and the highest has it. When a peer comes or goes, only
pieces of its own change hands, and few more (`MORE`). Pure.
"""

from __future__ import annotations

import math
import re
import secrets
import struct
from collections.abc import Collection, Iterable, Sequence
from hashlib import shake_128
from itertools import islice
from typing import Final

from gtfs.version import version

# The clients in BEP 20's form, `-XXnnnn-`. A cache may let go of what it has.
MIRROR: Final = b"gt"
CACHE: Final = b"gc"
_OURS: Final = re.compile(b"-(%b|%b)[0-9A-Z]{4}-" % (MIRROR, CACHE))
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

LEFT_ALONE = 1  # the pieces of each that nobody helps with: most likely they are on their way already
MOST_OWNERS = 16  # with more, each piece would be longer on its way to its owner, and all the others wait for it
MORE = 1.1  # times the mean that one may own; at 1, more would change hands when somebody comes or goes
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
    """Which mirror each of ``pieces`` belongs to; ``mine`` and ``others`` are their `scores`.

    Of many mirrors, those with the highest scores of the first piece own all. Nobody owns much more than the others:
    all take an owner's pieces from him, and he would still be sending them when everybody else is done. Of a hundred
    thousand pieces this takes a third of a second: not for an event loop.
    """

    def __init__(self, mine: bytes, others: Collection[bytes], pieces: int) -> None:
        owners = sorted([mine, *others], key=lambda theirs: score(theirs, 0), reverse=True)[:MOST_OWNERS]
        owned = _deal([_numbers(theirs, pieces) for theirs in owners], pieces)
        self._own = owned.pop(owners.index(mine)) if mine in owners else []
        self._theirs = owned
        ours = _numbers(mine, pieces)
        self._rest = sorted((piece for theirs in owned for piece in theirs), key=ours.__getitem__, reverse=True)

    def share(self, pieces: Iterable[int]) -> tuple[list[int], list[int]]:
        """Our pieces, our first ones first, and those of others that we would help with.

        Whoever helps leaves each owner its first ones.
        """
        wanted = frozenset(pieces)
        first = (islice(filter(wanted.__contains__, theirs), LEFT_ALONE) for theirs in self._theirs)
        helped = wanted.difference(*first)
        return [piece for piece in self._own if piece in wanted], [piece for piece in self._rest if piece in helped]


def _numbers(of: bytes, pieces: int) -> Sequence[int]:
    """`scores` as numbers."""
    return struct.unpack(f">{pieces}I", of[: SCORE * pieces])


def _deal(owners: Sequence[Sequence[int]], pieces: int) -> list[list[int]]:
    """For each owner its pieces, those of its highest scores first.

    The piece with the highest score comes first, and whoever has got as many as it may is passed over.
    """
    count = len(owners)
    most = math.ceil(MORE * pieces / count)
    left = set(range(count))
    # A score and whose it is, in one number.
    claims = [[number * count + who for number in theirs] for who, theirs in enumerate(owners)]
    highest = list(map(max, *claims)) if count > 1 else claims[0]
    owned: list[list[tuple[int, int]]] = [[] for _ in owners]
    for piece in sorted(range(pieces - 1, -1, -1), key=highest.__getitem__, reverse=True):
        claim = highest[piece]
        if claim % count not in left:
            claim = max(claims[who][piece] for who in left)
        who = claim % count
        owned[who].append((claim, piece))
        if len(owned[who]) == most:
            left.discard(who)
    return [[piece for _, piece in sorted(theirs, reverse=True)] for theirs in owned]
