# SPDX-License-Identifier: GPL-3.0-or-later
"""git's multi-pack-index (gitformat-pack(5), version 1), read, and written with the bytes that git would give it.

git has all objects of such an index in memory as it writes it, 62 bytes each, here those of some first bytes of an id
are merged at a time. It is a hint of git's, made of what the packs' own indexes say and nothing else. Any thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Final

from gtfs.durable import sync_file
from gtfs.ids import SHA1, SHA256, ObjectFormat, ObjectId
from gtfs.pack.compiled import Merged, Part, merge
from gtfs.repo.moving import LOCK
from gtfs.repo.packindex import FAR, FAR_OFFSET, BadIndex, PackIndex, SortedNames, usable_indexes

MULTI_PACK_INDEX: Final = "multi-pack-index"  # in a directory of packs

_HEADER: Final = struct.Struct(">4sBBBBI")  # magic, version, hash, chunks, base files, packs
_MAGIC: Final = b"MIDX"
_HASHES: Final = {SHA1: 1, SHA256: 2}
_CHUNK: Final = struct.Struct(">4sQ")  # what it is, where it begins
_FANOUT: Final = struct.Struct(">256I")
_ROW: Final = struct.Struct(">II")
_NAMES, _COUNTS, _OIDS, _OFFSETS, _FAR_OFFSETS = b"PNAM", b"OIDF", b"OIDL", b"OOFF", b"LOFF"
_READABLE: Final = 0o444
_AT_ONCE: Final = 1 << 17  # objects that are merged in one step, where one first byte has no more


class MultiPackIndex(SortedNames):
    """One that is there; raises `BadIndex`, also for one of another version and for part of a chain, OSError."""

    def __init__(self, path: Path, fmt: ObjectFormat) -> None:
        super().__init__(path, fmt)
        try:
            places = self._places(fmt)
            start, end = places[_NAMES]
            names = [os.fsdecode(name) for name in self._data[start:end].split(b"\0") if name]
            self._rows_at, rows_end = places[_OFFSETS]
            self._find_names(places[_COUNTS][0], places[_OIDS][0], fmt.oid_bytes)
            if len(names) != self._packs or rows_end - self._rows_at < len(self) * _ROW.size:
                raise BadIndex(path)
        except (struct.error, KeyError):
            self.close()
            raise BadIndex(path) from None
        except BadIndex:
            self.close()
            raise
        self.packs = tuple(names)  # names of the indexes of those that it covers

    def _places(self, fmt: ObjectFormat) -> dict[bytes, tuple[int, int]]:
        """Where its chunks begin and end, all within the file."""
        magic, version, hash_version, chunks, base_files, self._packs = _HEADER.unpack_from(self._data)
        if (magic, version, hash_version, base_files) != (_MAGIC, 1, _HASHES[fmt], 0):
            raise BadIndex(self.path)
        table = [_CHUNK.unpack_from(self._data, _HEADER.size + n * _CHUNK.size) for n in range(chunks + 1)]
        if any(not start <= end <= len(self._data) for (_, start), (_, end) in pairwise(table)):
            raise BadIndex(self.path)
        return {name: (start, end) for (name, start), (_, end) in pairwise(table)}

    def pack_of(self, oid: ObjectId) -> str | None:
        """The name of the index of a pack that has it, None if it knows none."""
        place = self.place_of(oid)
        if place is None:
            return None
        number, _ = _ROW.unpack_from(self._data, self._rows_at + place * _ROW.size)
        return self.packs[number] if number < len(self.packs) else None


def packs_in(path: Path, fmt: ObjectFormat) -> frozenset[str]:
    """The names of the indexes of packs that the multi-pack-index ``path`` covers: none if there is none to be read."""
    try:
        index = MultiPackIndex(path, fmt)
    except (BadIndex, OSError):
        return frozenset()
    index.close()
    return frozenset(index.packs)


def write_multi_pack_index(objects_pack: Path, path: Path, fmt: ObjectFormat) -> None:
    """Write ``path`` anew, durably, over all packs in ``objects_pack`` whose indexes are of version 2.

    Under git's lock for it: whoever else has that raises FileExistsError. Raises `BadIndex`, OSError; then nothing has
    changed.
    """
    lock = path.with_name(path.name + LOCK)
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(lock.open("x+b"))
        try:
            indexes = list(_opened(stack, objects_pack, fmt))
            _Writer(out, indexes, fmt).write()
            out.flush()
            _let_read(out, indexes)
            sync_file(lock)
            for of_old in path.parent.glob(path.name + "-*"):  # its bitmap, which none but it can use
                of_old.unlink(missing_ok=True)
            lock.rename(path)
        except BaseException:
            lock.unlink(missing_ok=True)
            raise
    if not all(index.path.exists() for index in indexes):  # somebody has repacked meanwhile
        path.unlink(missing_ok=True)


def _opened(stack: contextlib.ExitStack, objects_pack: Path, fmt: ObjectFormat) -> Iterator[PackIndex]:
    for name, _ in sorted(usable_indexes(objects_pack)):
        index = PackIndex(Path(name), fmt)
        stack.callback(index.close)
        if index.is_v2:
            yield index


def _let_read(out: io.BufferedRandom, indexes: Iterable[PackIndex]) -> None:
    """Whoever may read the packs, as core.sharedRepository has it, whatever the umask is."""
    mode, readable = os.fstat(out.fileno()).st_mode, _READABLE
    for index in indexes:
        readable &= index.path.stat().st_mode
    if mode & _READABLE != readable:
        os.fchmod(out.fileno(), stat.S_IMODE(mode) & ~_READABLE | readable)


class _Writer:
    """Of one file."""

    def __init__(self, out: io.BufferedRandom, indexes: Sequence[PackIndex], fmt: ObjectFormat) -> None:
        self._out = out
        self._fmt = fmt
        # An object that several packs have is the newest one's.
        times_s = [int(index.path.with_suffix(".pack").stat().st_mtime) for index in indexes]
        self._indexes = sorted(enumerate(indexes), key=lambda pair: (-times_s[pair[0]], pair[0]))
        names = b"".join(os.fsencode(index.path.name) + b"\0" for index in indexes)
        self._names = names + bytes(-len(names) % 4)
        self._has_far = any(start < end for start, end in (index.far for index in indexes))

    def write(self) -> None:
        chunks = [_NAMES, _COUNTS, _OIDS, _OFFSETS, *([_FAR_OFFSETS] if self._has_far else [])]
        at = _HEADER.size + (len(chunks) + 1) * _CHUNK.size
        counts_at = at + len(self._names)
        oids_at = counts_at + _FANOUT.size
        counts, far = [0] * 256, bytearray()
        with tempfile.TemporaryFile(dir=Path(self._out.name).parent) as rows:
            self._out.seek(oids_at)
            for first, last in self._steps():
                merged = self._merged(first, last, len(far) // FAR_OFFSET)
                self._out.write(merged.names)
                rows.write(merged.rows)
                far += merged.far
                firsts = merged.names[:: self._fmt.oid_bytes]
                for byte in range(first, last + 1):
                    counts[byte] = firsts.count(byte)
            rows.seek(0)
            shutil.copyfileobj(rows, self._out, 1 << 20)
        self._out.write(far)
        total = sum(counts)
        sizes = (len(self._names), _FANOUT.size, total * self._fmt.oid_bytes, total * _ROW.size, len(far))
        self._out.seek(0)
        self._out.write(_HEADER.pack(_MAGIC, 1, _HASHES[self._fmt], len(chunks), 0, len(self._indexes)))
        starts = accumulate(sizes[: len(chunks)], initial=at)
        self._out.writelines(_CHUNK.pack(*pair) for pair in zip([*chunks, bytes(4)], starts, strict=True))
        self._out.write(self._names)
        self._out.write(_FANOUT.pack(*accumulate(counts)))
        self._out.seek(0)
        self._out.write(hashlib.file_digest(self._out, lambda: self._fmt.new(b"")).digest())

    def _steps(self) -> Iterator[tuple[int, int]]:
        """First and last of the first bytes of ids that are merged in one step."""
        first = objects = 0
        for byte in range(256):
            more = sum(index.count(byte, byte) for _, index in self._indexes)
            if objects and objects + more > _AT_ONCE:
                yield first, byte - 1
                first, objects = byte, 0
            objects += more
        yield first, 255

    def _merged(self, first: int, last: int, far_before: int) -> Merged:
        parts = tuple(
            Part(number, *index.rows(first, last)) for number, index in self._indexes if index.count(first, last)
        )
        return merge(parts, self._fmt.oid_bytes, far_before) or self._merged_here(parts, far_before)

    def _merged_here(self, parts: Sequence[Part], far_before: int) -> Merged:
        """The same in Python, which says what is wrong with which index."""
        size, found = self._fmt.oid_bytes, []
        for rank, (number, names, offsets, _) in enumerate(parts):
            own = [names[at : at + size] for at in range(0, len(names), size)]
            if any(one >= other for one, other in pairwise(own)):
                raise BadIndex(self._path_of(number))
            found += [
                (name, rank, offset) for name, (offset,) in zip(own, struct.iter_unpack(">I", offsets), strict=True)
            ]
        found.sort()
        merged_names, rows, far, before = [], [], bytearray(), b""
        for name, rank, offset in found:
            if name == before:
                continue
            before, part = name, parts[rank]
            if offset & FAR:
                at = (offset - FAR) * FAR_OFFSET
                if at >= len(part.far):
                    raise BadIndex(self._path_of(part.number))
                offset = FAR | far_before + len(far) // FAR_OFFSET
                far += part.far[at : at + FAR_OFFSET]
            merged_names.append(name)
            rows.append(_ROW.pack(part.number, offset))
        return Merged(b"".join(merged_names), b"".join(rows), bytes(far))

    def _path_of(self, number: int) -> Path:
        return next(index.path for other, index in self._indexes if other == number)
