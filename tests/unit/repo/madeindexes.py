# SPDX-License-Identifier: GPL-3.0-or-later
"""Indexes of packs that do not exist, for tests of what reads indexes."""

from __future__ import annotations

import struct
from pathlib import Path

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.repo import packindex


def ids(fmt: ObjectFormat, first: int, count: int) -> list[ObjectId]:
    return sorted(ObjectId(fmt.new(b"%d" % n).digest()) for n in range(first, first + count))


def index(path: Path, oids: list[ObjectId], version: int = 2, offsets: list[int] | None = None) -> Path:
    """An index as gitformat-pack(5) has it, whose trailers are zeroes; ``offsets`` of version 2 alone."""
    fanout = struct.pack(">256I", *(sum(oid[0] <= n for oid in oids) for n in range(256)))
    if version == 1:
        body = b"".join(struct.pack(">I", 12 + n) + oid for n, oid in enumerate(oids))
        path.write_bytes(fanout + body + bytes(40))
    else:
        rows, far = bytearray(), bytearray()
        for offset in offsets or [0] * len(oids):
            rows += struct.pack(">I", offset if offset < packindex.FAR else packindex.FAR | len(far) // 8)
            far += struct.pack(">Q", offset) if offset >= packindex.FAR else b""
        tables = b"".join(oids) + bytes(4 * len(oids)) + rows + far
        path.write_bytes(packindex.MAGIC_V2 + fanout + tables + bytes(2 * len(oids[0]) if oids else 40))
    return path
