# SPDX-License-Identifier: GPL-3.0-or-later
"""The scan of design.md §8.1: every claim that a pack makes about its lengths is checked before it is believed.

Nothing is inflated whole unless the caller asks to keep it, no object is built and no hash but the pack's own is
made: that is `gtfs.pack.decode`. Memory is bounded by `SLICE_BYTES`, ``keep`` and the table of entries. Any thread.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from functools import partial
from mmap import mmap
from typing import Final, NamedTuple, TypeAlias

from gtfs.ids import ObjectFormat, ObjectId, PackDigest
from gtfs.pack import compiled
from gtfs.pack.account import Account, Needs
from gtfs.pack.format import (
    BLOB,
    COMMIT,
    HEADER,
    MAGIC,
    OFS_DELTA,
    REF_DELTA,
    TAG,
    TREE,
    VERSION,
    CorruptPack,
)
from gtfs.pack.limits import Limits

PackBytes: TypeAlias = bytes | bytearray | memoryview | mmap

SLICE_BYTES: Final = 64 * 1024  # of input and of output in one step of zlib; feeding the whole rest is quadratic
MIN_ENTRY_BYTES: Final = 9  # a header byte and the shortest zlib stream

_WHOLE: Final = frozenset((COMMIT, TREE, BLOB, TAG))
_NUMBER_BYTES: Final = 10  # the longest variable-length number: 64 bits and more than any limit
_DELTA_HEAD_BYTES: Final = 2 * _NUMBER_BYTES


class NotWhole(CorruptPack):
    """No pack, or not all of one: it does not start like a pack, or does not end in the hash of what it has."""


class Entry(NamedTuple):
    """One entry of a pack; offsets count from the pack's start."""

    offset: int  # of the header
    kind: int  # as in the header: COMMIT, TREE, BLOB, TAG, OFS_DELTA or REF_DELTA
    size: int  # bytes of the inflated stream, an object's or a delta's
    base: ObjectId | None  # REF_DELTA
    base_offset: int | None  # OFS_DELTA: always that of an earlier entry
    data: int  # where the zlib stream starts
    end: int  # and where it has ended
    result_size: int  # bytes of the object: of the delta's result, else ``size``


_entry: Final = partial(tuple.__new__, Entry)  # `Entry._make` takes twice as long


class Scan(NamedTuple):
    """What a scan found; ``inflated`` holds the streams it was asked to keep, by `Entry.offset`.

    Deltas among them stay there until the pack is checked: `gtfs.ingest.checkobjects` reads what they copy.
    """

    entries: tuple[Entry, ...]  # in the order of the file
    length: int  # of the whole pack with its trailer
    trailer: bytes
    digest: PackDigest
    inflated: dict[int, bytes]
    account: Account

    @property
    def needs(self) -> Needs:
        """What the limits must be at least for this pack."""
        return self.account.needs()

    def expanded_bytes(self) -> int:
        """The bytes of all objects of the pack together."""
        return sum(entry.result_size for entry in self.entries)


def scan(
    pack: PackBytes,
    fmt: ObjectFormat,
    limits: Limits,
    *,
    digest: PackDigest | None = None,
    prefix: bool = False,
    keep: int = 0,
) -> Scan:
    """Check a whole pack's frame, as design.md §8.1 lists it, and say where everything is.

    ``digest`` is the SHA-256 that a table promises. With ``prefix`` more bytes may follow the pack. Up to ``keep``
    bytes of inflated streams are handed on, so that `decode` need not inflate small packs again.
    Raises `NotWhole` before all else (with ``prefix``, after all else), `CorruptPack`, and `LimitExceeded` for what
    the limits forbid.
    """
    with memoryview(pack) as view:
        length = len(view)
        account = Account(limits)
        _check_start(view, fmt)
        if prefix:
            count = _read_count(view, fmt, account)
            entries, end, inflated = _walk(view, length - fmt.oid_bytes, count, fmt, account, keep, limits)
            length = end + fmt.oid_bytes
            account.check_ratio(length)
            trailer, found = _check_hashes(view, length, fmt, digest)
        else:
            trailer, found = _check_hashes(view, length, fmt, digest)
            count = _read_count(view, fmt, account)
            entries, end, inflated = _walk(view, length - fmt.oid_bytes, count, fmt, account, keep, limits)
            if end != length - fmt.oid_bytes:
                raise CorruptPack(f"{length - fmt.oid_bytes - end} bytes after the last entry", end)
        return Scan(tuple(entries), length, trailer, found, inflated, account)


def inflate(pack: PackBytes, entry: Entry) -> bytes:
    """The inflated stream of an entry that a scan of the same bytes has found good; raises `CorruptPack`."""
    inflater = zlib.decompressobj()
    with memoryview(pack) as view:
        try:
            data = inflater.decompress(view[entry.data : entry.end], entry.size + 1)
        except zlib.error:
            data = b""
    if not inflater.eof or len(data) != entry.size:
        raise CorruptPack("an entry that has changed since its scan", entry.data)
    return data


def inflate_stream(pack: PackBytes, entry: Entry) -> Iterator[bytes]:
    """The same in pieces of at most `SLICE_BYTES`, for objects that should not be in memory as a whole."""
    with memoryview(pack) as view:
        stream = _Stream(view, entry.data, entry.end, entry.size)
        while not stream.ended:
            yield stream.read(1)


def _check_start(view: memoryview, fmt: ObjectFormat) -> None:
    if len(view) < HEADER.size + fmt.oid_bytes:
        raise NotWhole(f"{len(view)} bytes are too few for a commit pack")
    magic, version, _ = HEADER.unpack_from(view)
    if magic != MAGIC:
        raise NotWhole("no pack: the magic is missing")
    if version != VERSION:
        raise NotWhole(f"pack version {version}, only {VERSION} is known", 4)


def _read_count(view: memoryview, fmt: ObjectFormat, account: Account) -> int:
    count = HEADER.unpack_from(view)[2]
    room = len(view) - HEADER.size - fmt.oid_bytes
    if room < MIN_ENTRY_BYTES:
        raise CorruptPack(f"{len(view)} bytes are too few for a commit pack")
    account.begin(count, 8)
    if not 0 < count * MIN_ENTRY_BYTES <= room:
        raise CorruptPack(f"{count} objects cannot be in {len(view)} bytes", 8)
    return int(count)


def _check_hashes(
    view: memoryview, length: int, fmt: ObjectFormat, promised: PackDigest | None
) -> tuple[bytes, PackDigest]:
    end = length - fmt.oid_bytes
    trailer = bytes(view[end:length])
    if fmt.new(view[:end]).digest() != trailer:  # type: ignore[arg-type]
        raise NotWhole("the trailer is not the hash of what stands before it", end)
    found = PackDigest(hashlib.sha256(view[:length]).digest())
    check_digest(found, promised)
    return trailer, found


def check_digest(found: PackDigest, promised: PackDigest | None) -> None:
    """Raise `CorruptPack` unless a pack's SHA-256 is the one that was promised, if one was."""
    if promised is not None and found != promised:
        raise CorruptPack(f"the pack's SHA-256 is {found.hex()}, not {promised.hex()} as promised")


def _walk(
    view: memoryview, end: int, count: int, fmt: ObjectFormat, account: Account, keep: int, limits: Limits
) -> tuple[list[Entry], int, dict[int, bytes]]:
    """The entries, where the last one ends, and what was kept of them."""
    found = compiled.walk(view, HEADER.size, end, count, fmt.oid_bytes, keep, limits)
    if found is not None:
        account.adopt(*found.sums)
        return list(map(_entry, found.entries)), found.end, found.inflated
    entries: list[Entry] = []
    offsets: set[int] = set()
    inflated: dict[int, bytes] = {}
    at = HEADER.size
    for i in range(count):
        if at >= end:
            raise CorruptPack(f"the pack ends before entry {i + 1} of {count}", at)
        base: ObjectId | None = None
        base_offset: int | None = None
        try:
            kind, size, pos = _entry_head(view, at)
            if kind == REF_DELTA:
                base = ObjectId(bytes(view[pos : pos + fmt.oid_bytes]))
                pos += fmt.oid_bytes
            elif kind == OFS_DELTA:
                distance, pos = _distance(view, pos)
                base_offset = at - distance
                if base_offset not in offsets:
                    raise CorruptPack(f"a delta whose base would start at {base_offset}, where no entry does", at)
            elif kind not in _WHOLE:
                raise CorruptPack(f"an entry of unknown kind {kind}", at)
        except IndexError:
            pos = end
        if pos >= end:
            raise CorruptPack(f"the pack ends in entry {i + 1} of {count}", at)
        is_delta = kind >= OFS_DELTA
        if not is_delta:
            account.whole(size, at)
            if kind != BLOB:
                account.structure(size, at)

        stream = None
        head, stop = _inflate_small(view, pos, end, size) if size <= SLICE_BYTES else (b"", 0)
        if not stop:
            stream = _Stream(view, pos, end, size)
            head = stream.read(_DELTA_HEAD_BYTES)
        result_size = size
        if is_delta:
            base_size, result_size = _read_delta_sizes(head, at)
            account.delta(size, base, base_size, result_size, at)
            account.check_ratio(end, at)
        kept = size <= keep
        if stream is not None:
            if kept:
                head = stream.read_rest(head)
            else:
                stream.skip_rest()
            stop = stream.stop
        if kept:
            inflated[at] = head
            keep -= size

        entries.append(Entry(at, kind, size, base, base_offset, pos, stop, result_size))
        offsets.add(at)
        at = stop
    return entries, at, inflated


def _entry_head(view: memoryview, pos: int) -> tuple[int, int, int]:
    """Kind, size and where the header ends; raises IndexError past the end of the buffer."""
    at = pos
    byte = view[pos]
    pos += 1
    kind = byte >> 4 & 7
    size = byte & 15
    if byte & 0x80:
        shift = 4
        while True:
            byte = view[pos]
            pos += 1
            size |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
            shift += 7
            if pos - at >= _NUMBER_BYTES:
                raise CorruptPack("an entry header that does not end", at)
        if not byte:
            raise CorruptPack("an entry header that is longer than it has to be", at)
    return kind, size, pos


def _distance(view: memoryview, pos: int) -> tuple[int, int]:
    """An OFS_DELTA's distance and where it ends; raises IndexError past the end of the buffer."""
    at = pos
    byte = view[pos]
    pos += 1
    distance = byte & 0x7F
    while byte & 0x80:
        if pos - at >= _NUMBER_BYTES:
            raise CorruptPack("a base offset that does not end", at)
        byte = view[pos]
        pos += 1
        distance = (distance + 1) << 7 | byte & 0x7F
    return distance, pos


def _read_delta_sizes(head: bytes, at: int) -> tuple[int, int]:
    """The sizes of base and result that a delta states."""
    pos = 0
    sizes = []
    for _ in ("base", "result"):
        size = shift = 0
        while True:
            if pos >= len(head) or shift > 7 * _NUMBER_BYTES:
                raise CorruptPack("a delta without its two sizes", at)
            byte = head[pos]
            pos += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        sizes.append(size)
    return sizes[0], sizes[1]


def _inflate_small(view: memoryview, start: int, end: int, size: int) -> tuple[bytes, int]:
    """A small stream and where it ends, in one step; an end of 0 where `_Stream` has to take a closer look."""
    inflater = zlib.decompressobj()
    fed_to = min(start + size + (size >> 6) + 64, end)
    try:
        data = inflater.decompress(view[start:fed_to], size + 1)
    except zlib.error:
        return b"", 0
    if not inflater.eof or len(data) != size:
        return b"", 0
    return data, fed_to - len(inflater.unused_data)


class _Stream:
    """One zlib stream that must give exactly ``size`` bytes and end before ``end``; `stop` is where it did."""

    __slots__ = ("_at", "_end", "_got", "_inflater", "_size", "_start", "_view", "ended", "stop")

    def __init__(self, view: memoryview, start: int, end: int, size: int) -> None:
        self._view = view
        self._start = self._at = start
        self._end = end
        self._size = size
        self._got = 0
        self._inflater = zlib.decompressobj()
        self.ended = False
        self.stop = start

    def read(self, enough: int) -> bytes:
        """The next bytes, at least ``enough`` of them where the stream has so many."""
        data = b""
        while len(data) < enough and not self.ended:
            data += self._step()
        return data

    def read_rest(self, head: bytes) -> bytes:
        """``head`` and all that is left."""
        parts = [head]
        while not self.ended:
            parts.append(self._step())
        return b"".join(parts)

    def skip_rest(self) -> None:
        """Inflate what is left, for its length alone."""
        while not self.ended:
            self._step()

    def _step(self) -> bytes:
        fed_to = min(self._at + SLICE_BYTES, self._end)
        try:
            out = self._inflater.decompress(self._view[self._at : fed_to], SLICE_BYTES)
        except zlib.error as why:
            raise CorruptPack(f"a broken zlib stream: {why}", self._start) from None
        self._got += len(out)
        if self._got > self._size:
            raise CorruptPack(f"an entry of more than the {self._size} bytes it states", self._start)
        if self._inflater.eof:
            if self._got != self._size:
                raise CorruptPack(f"an entry of {self._got} bytes that states {self._size}", self._start)
            self.ended = True
            self.stop = fed_to - len(self._inflater.unused_data)
        else:
            before, self._at = self._at, fed_to - len(self._inflater.unconsumed_tail)
            if self._at == before and not out:
                raise CorruptPack("a zlib stream that does not end", self._start)
        return out
