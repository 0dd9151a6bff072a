# SPDX-License-Identifier: GPL-3.0-or-later
"""Bencoding (BEP 3), canonical in both directions: what is read has one encoding, the bytes that were read.

Not for messages of the DHT: foreign nodes write those, and not all of them sort their keys. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

MAX_NESTING: Final = 8

Bencodable = int | bytes | Sequence["Bencodable"] | Mapping[bytes, "Bencodable"]


class NotBencoded(ValueError):
    """Bytes that are not the canonical encoding of anything; whoever read them says what they should have been."""


def encode(value: Bencodable) -> bytes:
    """The canonical encoding: keys sorted as raw bytes."""
    out: list[bytes] = []
    _encode_into(out, value)
    return b"".join(out)


def decode(data: bytes) -> Bencodable:
    """The value whose encoding is all of ``data``; raises `NotBencoded`."""
    try:
        value, end = _decode(data, 0, MAX_NESTING)
    except (ValueError, IndexError) as error:
        raise NotBencoded("not bencoded") from error
    # Encoding again is the whole strictness: sorted keys, no repeats, no leading zeros, no trailing bytes.
    if end != len(data) or encode(value) != data:
        raise NotBencoded("not bencoded canonically")
    return value


def _encode_into(out: list[bytes], value: Bencodable) -> None:
    if isinstance(value, int):
        out.append(b"i%de" % value)
    elif isinstance(value, bytes):
        out.append(b"%d:" % len(value))
        out.append(value)
    elif isinstance(value, Mapping):
        out.append(b"d")
        for key in sorted(value):
            _encode_into(out, key)
            _encode_into(out, value[key])
        out.append(b"e")
    else:
        out.append(b"l")
        for item in value:
            _encode_into(out, item)
        out.append(b"e")


def _decode(data: bytes, at: int, depth: int) -> tuple[Bencodable, int]:
    if not depth:
        raise ValueError("nested too deep")
    mark = data[at : at + 1]
    if mark == b"i":
        end = data.index(b"e", at, at + 24)
        return int(data[at + 1 : end]), end + 1
    if mark in (b"l", b"d"):
        items: list[Bencodable] = []
        at += 1
        while data[at] != ord("e"):
            item, at = _decode(data, at, depth - 1)
            items.append(item)
        if mark == b"l":
            return items, at + 1
        pairs: dict[bytes, Bencodable] = {}
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, bytes):
                raise ValueError("a key that is no string")
            pairs[key] = value
        return pairs, at + 1
    colon = data.index(b":", at, at + 12)
    end = colon + 1 + int(data[at:colon])
    if not colon < end <= len(data):
        raise ValueError("a string beyond the end")
    return data[colon + 1 : end], end
