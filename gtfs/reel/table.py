# SPDX-License-Identifier: GPL-3.0-or-later
"""The layout of a reel (design.md §4, gtfs-reel(5), format version 1): table, footer, name.

    pack 0 | pack 1 | ... | table | footer
    table row:  object id (20 or 32) | length u64 | SHA-256 of the pack (32)
    footer:     SHA-256 of the table (32) | rows u32 | object id length u16 | version u16 | b"GTFSREEL"

Integers are big-endian. Pure functions of bytes, strict both ways; nothing here touches files. Any thread.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple, overload

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectFormat, ObjectId, PackDigest, ReelName
from gtfs.pack.format import HEADER

MAGIC: Final = b"GTFSREEL"
VERSION: Final = 1
DIGEST_BYTES: Final = 32
MAX_ROWS: Final = 0xFFFFFFFF
MAX_BYTES: Final = (1 << 63) - 1  # what off_t and SQLite hold
_FOOTER: Final = struct.Struct(">32sIHH8s")
FOOTER_BYTES: Final = _FOOTER.size


class CorruptReel(GtfsError):
    """Bytes that are no acceptable reel, table or footer."""

    fault = Blame.DATA

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Row(NamedTuple):
    """One commit pack of a reel; ``length`` in bytes, ``digest`` the SHA-256 of all of them."""

    oid: ObjectId
    length: int
    digest: PackDigest


_row: Final = partial(tuple.__new__, Row)  # `Row._make` takes twice as long


class Rows(Sequence[Row]):
    """The rows of a table, made as they are asked for: a quarter of the memory, and there are a million."""

    def __init__(self, table: bytes, oid_bytes: int) -> None:
        self.table = table
        self.oid_bytes = oid_bytes
        self._struct = _row_struct(oid_bytes)

    def __len__(self) -> int:
        return len(self.table) // self._struct.size

    @overload
    def __getitem__(self, at: int) -> Row: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Row]: ...

    def __getitem__(self, at: int | slice) -> Row | Sequence[Row]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        return Row._make(self._struct.unpack_from(self.table, range(len(self))[at] * self._struct.size))

    def __iter__(self) -> Iterator[Row]:
        return map(_row, self._struct.iter_unpack(self.table))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and (self.table, self._struct.size) == (other.table, other._struct.size)

    def __hash__(self) -> int:
        return hash(self.table)


class Footer(NamedTuple):
    """The last `FOOTER_BYTES` of a reel, parsed and plausible by itself."""

    table_digest: bytes
    rows: int
    oid_bytes: int
    version: int

    @property
    def table_bytes(self) -> int:
        """The table's length."""
        return self.rows * _row_struct(self.oid_bytes).size

    @property
    def name(self) -> ReelName:
        """The reel's name, which the table must have as its digest."""
        return ReelName(self.table_digest.hex())


def encode_table(rows: Iterable[Row], fmt: ObjectFormat) -> bytes:
    """The table of these rows, in their order; raises `CorruptReel` for rows that no reader would accept."""
    if isinstance(rows, Rows) and rows.oid_bytes == fmt.oid_bytes:
        return rows.table  # as it was parsed
    pack = _row_struct(fmt.oid_bytes).pack
    table = bytearray()
    for row in _checked(rows, fmt.oid_bytes):
        table += pack(*row)
    return bytes(table)


def footer(table: bytes, rows: int, fmt: ObjectFormat) -> bytes:
    """The footer that follows ``table``."""
    if not 0 < rows <= MAX_ROWS or len(table) != rows * _row_struct(fmt.oid_bytes).size:
        raise CorruptReel(f"a table of {len(table)} bytes does not hold {rows} rows")
    return _FOOTER.pack(hashlib.sha256(table).digest(), rows, fmt.oid_bytes, VERSION, MAGIC)


def parse_footer(data: bytes, fmt: ObjectFormat | None = None) -> Footer:
    """The footer in exactly `FOOTER_BYTES` bytes; with ``fmt``, ids of another length are refused too."""
    if len(data) != FOOTER_BYTES:
        raise CorruptReel(f"a reel's footer has {FOOTER_BYTES} bytes, not {len(data)}")
    table_digest, rows, oid_bytes, version, magic = _FOOTER.unpack(data)
    if magic != MAGIC:
        raise CorruptReel("no reel: its last bytes are not GTFSREEL")
    if version != VERSION:
        raise CorruptReel(f"reel format version {version} is not known to this gtfs")
    if oid_bytes not in (20, 32) or (fmt is not None and oid_bytes != fmt.oid_bytes):
        raise CorruptReel(f"the reel's object ids have {oid_bytes} bytes")
    if not rows:
        raise CorruptReel("the reel holds no packs")
    return Footer(table_digest, rows, oid_bytes, version)


def end_bytes(rows: int, fmt: ObjectFormat) -> int:
    """How long the table of so many rows is, with the footer."""
    return rows * _row_struct(fmt.oid_bytes).size + FOOTER_BYTES


def footer_range(size: int) -> tuple[int, int]:
    """(offset, length) of the footer in a reel of ``size`` bytes."""
    if not FOOTER_BYTES < size <= MAX_BYTES:
        raise CorruptReel(f"{size} bytes are no reel")
    return size - FOOTER_BYTES, FOOTER_BYTES


def table_range(size: int, foot: Footer) -> tuple[int, int]:
    """(offset, length) of the table in a reel of ``size`` bytes; refuses a row count that the size cannot hold,
    so a reader never asks for more than the reel."""
    least = foot.rows * _least_pack(foot.oid_bytes)
    offset = size - FOOTER_BYTES - foot.table_bytes
    if offset < least:
        raise CorruptReel(f"a reel of {size} bytes cannot hold {foot.rows} packs")
    return offset, foot.table_bytes


def parse_table(data: bytes, foot: Footer) -> Rows:
    """The rows of the table that ``foot`` promises, its digest checked."""
    if len(data) != foot.table_bytes or hashlib.sha256(data).digest() != foot.table_digest:
        raise CorruptReel("the reel's table is not the one that its footer names")
    rows = Rows(bytes(data), foot.oid_bytes)
    deque(_checked(rows, foot.oid_bytes), maxlen=0)
    return rows


def reel_name(table: bytes) -> ReelName:
    """The name that binds this table: its SHA-256 in hex."""
    return ReelName(hashlib.sha256(table).hexdigest())


def reel_size(rows: Sequence[Row], fmt: ObjectFormat) -> int:
    """How many bytes the reel of these rows has."""
    return sum(row.length for row in rows) + end_bytes(len(rows), fmt)


def check_reel_layout(rows: Sequence[Row], total_size: int) -> Sequence[int]:
    """The offset of each pack, once packs, table and footer are known to fill ``total_size`` exactly."""
    if not rows:
        raise CorruptReel("the reel holds no packs")
    offsets = array("q")
    end = 0
    for row in rows:
        offsets.append(end)
        end += row.length
    wanted = end + len(rows) * _row_struct(len(rows[0].oid)).size + FOOTER_BYTES
    if wanted != total_size:
        raise CorruptReel(f"the table describes a reel of {wanted} bytes, this one has {total_size}")
    return offsets


def _row_struct(oid_bytes: int) -> struct.Struct:
    return _ROWS[oid_bytes]


_ROWS: Final = {n: struct.Struct(f">{n}sQ32s") for n in (20, 32)}


def _least_pack(oid_bytes: int) -> int:
    return HEADER.size + oid_bytes  # header and trailer: no pack is shorter


def _checked(rows: Iterable[Row], oid_bytes: int) -> Iterator[Row]:
    """The rows, each looked at before it is given, and all of them at the end."""
    seen = set()
    total = 0
    least = _least_pack(oid_bytes)
    for row in rows:
        oid, length, digest = row
        if len(oid) != oid_bytes or len(digest) != DIGEST_BYTES:
            raise CorruptReel(f"a row with an object id of {len(oid)} and a digest of {len(digest)} bytes")
        if length < least:
            raise CorruptReel(f"{oid.hex()}: {length} bytes are no pack")
        if oid in seen:
            raise CorruptReel(f"{oid.hex()} stands twice in one reel")
        seen.add(oid)
        total += length
        # Before it is given: no encoder holds more.
        if total > MAX_BYTES:
            break
        yield row
    if not 0 < len(seen) <= MAX_ROWS:
        raise CorruptReel(f"a reel cannot hold {len(seen)} packs")
    if total > MAX_BYTES:
        raise CorruptReel("the packs' lengths add up to more than a file can hold")
