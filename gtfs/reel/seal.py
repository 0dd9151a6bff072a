# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed reels on disk: writing one with its .torrent, reading its table, checking all of it.

Order of writing: (1) packs, table and footer into a temporary, every pack's digest taken again on the way; (2) fsync;
(3) NAME.torrent; (4) rename to NAME.reel; (5) fsync the directory. Only then may the index point into it. A crash
before (4) leaves at most temporaries (swept at start) and a .torrent that the next try overwrites with the same bytes.
Does not choose the order of packs (order.py). Any thread, one for each reel.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.durable import replace_file, sync_directory, temporary_in
from gtfs.ids import (
    METAINFO_SUFFIX,
    REEL_SUFFIX,
    BadId,
    InfoHash,
    ObjectFormat,
    ObjectId,
    PackDigest,
    ReelName,
    parse_reel_name,
)
from gtfs.metainfo import PieceHasher
from gtfs.pack.limits import MIB
from gtfs.reel.openreel import COPY_BYTES, ReelReader
from gtfs.reel.table import (
    CorruptReel,
    Footer,
    Row,
    Rows,
    check_reel_layout,
    encode_table,
    footer,
    footer_range,
    parse_footer,
    parse_table,
    reel_name,
    reel_size,
    table_range,
)

_BUFFER_BYTES: Final = MIB


class PackToSeal(NamedTuple):
    """A pack to be sealed: what it must be, and how to read its bytes (see `openreel.file_chunks`)."""

    oid: ObjectId
    length: int
    digest: PackDigest
    read: Callable[[], Iterable[bytes]]


class SealedReel(NamedTuple):
    """A reel that is durable; ``table`` has its packs in order."""

    name: ReelName
    infohash: InfoHash
    size: int
    rows: int
    path: Path
    metainfo_path: Path
    table: Rows
    offsets: Sequence[int]

    @property
    def places(self) -> Iterator[tuple[ObjectId, int]]:
        """Its packs and their offsets."""
        return zip((row.oid for row in self.table), self.offsets, strict=True)


class PackCheck(NamedTuple):
    """One pack of a reel as fsck found it."""

    oid: ObjectId
    offset: int
    length: int
    good: bool


def write_reel(directory: Path, packs: Sequence[PackToSeal], fmt: ObjectFormat) -> SealedReel:
    """Seal these packs, in this order, as ``directory``/NAME.reel and NAME.torrent.

    They are gone through twice, and none is kept. Raises `CorruptReel` if a pack does not have the length and digest it
    should have: nothing is left behind then.
    """
    table = encode_table((Row(source.oid, source.length, source.digest) for source in packs), fmt)
    rows = Rows(table, fmt.oid_bytes)
    size = reel_size(rows, fmt)
    offsets = check_reel_layout(rows, size)
    name = reel_name(table)
    path = directory / f"{name}{REEL_SUFFIX}"
    metainfo_path = metainfo_path_of(path)
    hasher = PieceHasher(size)
    fd, temporary = temporary_in(directory)
    try:
        with os.fdopen(fd, "wb", buffering=0) as file:
            for block in _blocks(packs, table + footer(table, len(rows), fmt)):
                left = memoryview(block)
                while left:
                    left = left[file.write(left) :]
                hasher.update(block)
            os.fsync(file.fileno())  # (2)
        metainfo, infohash = hasher.metainfo(path.name)
        replace_file(metainfo_path, metainfo)  # (3)
        temporary.replace(path)  # (4)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_directory(directory)  # (5)
    return SealedReel(name, infohash, size, len(rows), path, metainfo_path, rows, offsets)


def read_reel(path: Path, fmt: ObjectFormat | None = None) -> tuple[Footer, Rows]:
    """The footer and rows of a reel file whose end is local, all checked, the file's name included."""
    try:
        name = parse_reel_name(path.name.removesuffix(REEL_SUFFIX))
    except BadId:
        name = None
    if name is None or path.suffix != REEL_SUFFIX:
        raise CorruptReel(f"{path.name} is no reel's name")
    with contextlib.closing(ReelReader(path)) as reader:
        size = reader.size
        try:
            foot = parse_footer(reader.read(*footer_range(size)), fmt)
            if foot.name != name:
                raise CorruptReel("its table is another reel's")
            rows = parse_table(reader.read(*table_range(size, foot)), foot)
            check_reel_layout(rows, size)
        except CorruptReel as error:
            raise CorruptReel(f"{path.name}: {error.reason}") from error
    return foot, rows


def verify_reel(path: Path, fmt: ObjectFormat | None = None) -> Iterator[PackCheck]:
    """Read a whole reel and say of each pack whether its digest is the table's; raises what `read_reel` raises."""
    _, rows = read_reel(path, fmt)
    offsets = check_reel_layout(rows, path.stat().st_size)
    yield from check_packs(path, zip(rows, offsets, strict=True))


def check_packs(path: Path, placed: Iterable[tuple[Row, int]]) -> Iterator[PackCheck]:
    """Say of each pack at its offset in a local file whether it has its digest; a missing end is not good."""
    with contextlib.closing(ReelReader(path)) as reader:
        for row, offset in placed:
            yield PackCheck(row.oid, offset, row.length, _is_good(reader, row, offset))


def metainfo_path_of(reel: Path) -> Path:
    """NAME.torrent beside NAME.reel."""
    return reel.with_suffix(METAINFO_SUFFIX)


def _is_good(reader: ReelReader, row: Row, offset: int) -> bool:
    digest = hashlib.sha256()
    try:
        for at in range(offset, offset + row.length, COPY_BYTES):
            digest.update(reader.read(at, min(COPY_BYTES, offset + row.length - at)))
    except CorruptReel:
        return False
    return digest.digest() == row.digest


def _blocks(packs: Iterable[PackToSeal], end: bytes) -> Iterator[bytes]:
    """All that is in a reel, in parts that are worth a call."""
    parts: list[bytes] = []
    size = 0
    for source in packs:
        for chunk in _checked(source):
            parts.append(chunk)
            size += len(chunk)
            if size >= _BUFFER_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
    yield b"".join([*parts, end])


def _checked(source: PackToSeal) -> Iterator[bytes]:
    digest = hashlib.sha256()
    length = 0
    for chunk in source.read():
        digest.update(chunk)
        length += len(chunk)
        if length > source.length:
            break
        yield chunk
    if length != source.length or digest.digest() != source.digest:
        raise CorruptReel(f"the pack of {source.oid.hex()} is not the one that was recorded; run gtfs fsck")
