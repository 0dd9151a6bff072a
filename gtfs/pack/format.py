# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of a git pack (gitformat-pack(5), version 2): header, entry headers, trailer. Any thread."""

from __future__ import annotations

import struct
from typing import Final

from gtfs.errors import Blame, GtfsError

MAGIC: Final = b"PACK"
VERSION: Final = 2
HEADER: Final = struct.Struct(">4sII")  # magic, version, object count

COMMIT: Final = 1
TREE: Final = 2
BLOB: Final = 3
TAG: Final = 4
OFS_DELTA: Final = 6
REF_DELTA: Final = 7

KIND_NAMES: Final = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}
KIND_NUMBERS: Final = {name: number for number, name in KIND_NAMES.items()}


class CorruptPack(GtfsError):
    """Bytes that are no acceptable pack; ``offset`` is where it was noticed, counted from the pack's start."""

    fault = Blame.DATA

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(f"{reason} (at byte {offset})")
        self.reason = reason
        self.offset = offset


class LimitExceeded(CorruptPack):
    """A pack that asks for more than a limit of design.md §13 allows; the limit is named in the text."""

    def __init__(self, limit: str, allowed: int, wanted: int, offset: int = 0) -> None:
        self.excess = f"over the limit {limit}: {wanted} where {allowed} is allowed"
        super().__init__(self.excess, offset)
        self.limit = limit


def entry_header(kind: int, size: int) -> bytes:
    """The shortest header of an entry of ``kind`` whose inflated data has ``size`` bytes."""
    byte = kind << 4 | size & 0x0F
    size >>= 4
    out = bytearray()
    while size:
        out.append(byte | 0x80)
        byte = size & 0x7F
        size >>= 7
    out.append(byte)
    return bytes(out)
