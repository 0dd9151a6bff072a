# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs made by hand, good and bad, for the tests of scan and decode. No test."""

from __future__ import annotations

import zlib

from gtfs.ids import SHA1, ObjectFormat, ObjectId
from gtfs.pack.format import HEADER, MAGIC, OFS_DELTA, REF_DELTA, VERSION, entry_header


def number(n: int) -> bytes:
    """A delta's variable-length number."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def delta(base_size: int, result_size: int, *instructions: bytes) -> bytes:
    return number(base_size) + number(result_size) + b"".join(instructions)


def copy(offset: int, size: int) -> bytes:
    if size > 0xFFFFFF:
        return copy(offset, 0xFFFFFF) + copy(offset + 0xFFFFFF, size - 0xFFFFFF)
    return b"\xff" + offset.to_bytes(4, "little") + size.to_bytes(3, "little")


def insert(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def whole(kind: int, data: bytes, stated: int | None = None) -> bytes:
    return entry_header(kind, len(data) if stated is None else stated) + zlib.compress(data, 1)


def ref_delta(base: ObjectId, instructions: bytes, stated: int | None = None) -> bytes:
    head = entry_header(REF_DELTA, len(instructions) if stated is None else stated)
    return head + base + zlib.compress(instructions, 1)


def ofs_delta(distance: int, instructions: bytes) -> bytes:
    out = [distance & 0x7F]
    distance >>= 7
    while distance:
        distance -= 1
        out.append(distance & 0x7F | 0x80)
        distance >>= 7
    return entry_header(OFS_DELTA, len(instructions)) + bytes(reversed(out)) + zlib.compress(instructions, 1)


def seal(body: bytes, fmt: ObjectFormat = SHA1) -> bytes:
    return body + fmt.new(body).digest()


def pack(*entries: bytes, count: int | None = None, fmt: ObjectFormat = SHA1) -> bytes:
    return seal(HEADER.pack(MAGIC, VERSION, len(entries) if count is None else count) + b"".join(entries), fmt)


def commit(tree: ObjectId, *parents: ObjectId, message: bytes = b"message\n") -> bytes:
    person = b"A U Thor <author@example.org> 1700000000 +0100\n"
    names = b"".join(b"parent %s\n" % p.hex().encode() for p in parents)
    return b"tree %s\n%sauthor %scommitter %s\n%s" % (tree.hex().encode(), names, person, person, message)
