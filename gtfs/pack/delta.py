# SPDX-License-Identifier: GPL-3.0-or-later
"""delta(B, T) of design.md §3.4: git's delta format, its choices fixed so that every machine makes the same bytes.

Pure functions, any thread.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final

Tokenizer = Callable[[bytes], list[bytes]]

MIN_MATCH: Final = 16  # bytes; shorter runs are inserted
MAX_COPY: Final = 0x10000  # bytes in one copy instruction; this size is written with no size bytes
MAX_INSERT: Final = 127  # bytes in one insert instruction
_ASKED: Final = 8  # tokens: looking for more of them in the base takes longer than to index it
_BLOCK: Final = 4096  # bytes compared at a time before the differing block is looked into


def _first_difference(a: bytes, b: bytes) -> int:
    """The index of the first differing byte of two unequal strings of one length."""
    x = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
    return ((x & -x).bit_length() - 1) >> 3


def common_prefix(a: bytes, i: int, b: bytes, j: int, limit: int) -> int:
    """How many bytes a[i:] and b[j:] share from their start, at most ``limit`` (which both must hold)."""
    done = 0
    step = 64
    while done < limit:
        n = min(step, limit - done)
        x = a[i + done : i + done + n]
        y = b[j + done : j + done + n]
        if x != y:
            return done + _first_difference(x, y)
        done += n
        step = _BLOCK if step < _BLOCK else min(step * 2, 1 << 20)
    return limit


def common_suffix(a: bytes, i: int, b: bytes, j: int, limit: int) -> int:
    """How many bytes a[:i] and b[:j] share at their end, at most ``limit`` (which both must hold)."""
    done = 0
    step = 64
    while done < limit:
        n = min(step, limit - done)
        x = a[i - done - n : i - done]
        y = b[j - done - n : j - done]
        if x != y:
            return done + _first_difference(x[::-1], y[::-1])
        done += n
        step = _BLOCK if step < _BLOCK else min(step * 2, 1 << 20)
    return limit


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _copy(offset: int, size: int) -> Iterator[bytes]:
    while size:
        n = min(size, MAX_COPY)
        op = 0x80
        tail = bytearray()
        for bit in range(4):
            if byte := offset >> 8 * bit & 0xFF:
                op |= 1 << bit
                tail.append(byte)
        if n != MAX_COPY:
            for bit in range(2):
                if byte := n >> 8 * bit & 0xFF:
                    op |= 0x10 << bit
                    tail.append(byte)
        yield bytes((op,)) + tail
        offset += n
        size -= n


def _insert(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), MAX_INSERT):
        piece = data[at : at + MAX_INSERT]
        yield bytes((len(piece),)) + piece


def blob_tokens(data: bytes) -> list[bytes]:
    """Lines kept with their end: LF, CR or CRLF."""
    return data.splitlines(True)


def tree_tokens(oid_bytes: int) -> Tokenizer:
    """The tokenizer that gives a tree's whole entries; the tree must be a run of them."""
    entry = re.compile(rb"[^ ]* [^\0]*\0.{%d}" % oid_bytes, re.DOTALL)
    return entry.findall


def make_delta(base: bytes, target: bytes, tokens: Tokenizer, borders: Sequence[int] | None = None) -> bytes:
    """The delta that makes ``target`` from ``base``.

    ``borders``: where each token of the whole target begins, and the end (trees: theirs are clipped to the changed
    range); None where tokens are those of the range itself (blobs).
    """
    shorter = min(len(base), len(target))
    p = common_prefix(base, 0, target, 0, shorter)
    s = common_suffix(base, len(base), target, len(target), shorter - p)
    p = p if p >= MIN_MATCH else 0
    s = s if s >= MIN_MATCH else 0
    te = len(target) - s

    out = [_varint(len(base)), _varint(len(target)), *_copy(0, p)]
    ins = p
    if te - p >= MIN_MATCH:
        found = tokens(target[p:te]) if borders is None else _clipped(target, p, te, borders)
        last = _last_places(base, found, tokens)
        end = p
        for token in found if last else ():
            start, end = end, end + len(token)
            if end <= ins:
                continue
            pos = start
            if pos < ins:
                token = token[ins - pos :]
                pos = ins
            o = last.get(token)
            if o is None:
                continue
            f = common_prefix(base, o, target, pos, min(len(base) - o, te - pos))
            j = common_suffix(base, o, target, pos, min(o, pos - ins))
            if f + j >= MIN_MATCH:
                out += _insert(target[ins : pos - j])
                out += _copy(o - j, f + j)
                ins = pos + f
    out += _insert(target[ins:te])
    out += _copy(len(base) - s, s)
    return b"".join(out)


def _clipped(target: bytes, p: int, te: int, borders: Sequence[int]) -> list[bytes]:
    """The tokens that reach into target[p:te], without what they have outside of it."""
    first, end = bisect_right(borders, p) - 1, bisect_left(borders, te)
    return [target[max(a, p) : min(b, te)] for a, b in pairwise(borders[first : end + 1])]


def _last_places(base: bytes, wanted: list[bytes], tokens: Tokenizer) -> dict[bytes, int]:
    """Where each token of ``base`` begins at last; nothing, if none of those ``wanted`` occurs there."""
    # As long as no token is found, none is cut, so that what is asked of the whole base holds for all that follows.
    if len(wanted) <= _ASKED and not any(token in base for token in wanted):
        return {}
    found = tokens(base)
    return dict(zip(found, accumulate(map(len, found), initial=0), strict=False))
