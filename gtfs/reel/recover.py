# SPDX-License-Identifier: GPL-3.0-or-later
"""What a start after a crash does, and how the index is made again from the files (design.md §7, §8).

`open_index` and `recover_open_reel` run at every start, under the node's lock, before anything is appended.
`rebuild_index` is ``gtfs fsck --rebuild``: it reads everything. What packs mean is told by the caller's functions:
this module knows neither git nor the scanner. One thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.durable import sync_directory
from gtfs.ids import REEL_SUFFIX, InfoHash, ObjectFormat, ObjectId, PackDigest, ReelName
from gtfs.metainfo import BadMetainfo, build_metainfo, parse_metainfo
from gtfs.pack.format import HEADER, MAGIC, VERSION, CorruptPack
from gtfs.pack.limits import MIB
from gtfs.reel.index import Index, IndexCorrupt, LocalPack, PackRow, PackStage, ReelPack, SeenPack
from gtfs.reel.openreel import OpenReelWriter
from gtfs.reel.seal import PackCheck, check_packs, metainfo_path_of, read_reel
from gtfs.reel.table import MAX_BYTES, CorruptReel, Row, check_reel_layout

DB_SUFFIXES: Final = ("", "-wal", "-shm")
_PACK_START: Final = HEADER.pack(MAGIC, VERSION, 0)[:8]
_BATCH: Final = 1000  # packs a transaction while rebuilding


class Described(NamedTuple):
    """What a whole pack's bytes say, and the stage that its objects have reached in the backing repository."""

    oid: ObjectId
    kind: int
    time_s: int
    parents: tuple[ObjectId, ...]
    stage: PackStage


class Listed(NamedTuple):
    """A reel as the held catalogue lists it."""

    infohash: InfoHash
    size: int
    rows: int
    version: int


class Recovered(NamedTuple):
    """What a start found: packs whose bytes were lost, and bytes cut off that no row knew."""

    dropped: tuple[ObjectId, ...]
    cut_bytes: int


class Rebuilt(NamedTuple):
    """What was found again, and one line for each thing that is not as it should be."""

    reels: int
    packs: int
    problems: tuple[str, ...]


Describe = Callable[[memoryview], Described]  # raises CorruptPack; must keep no part of the view
ScanPrefix = Callable[[memoryview], int]  # the length of the pack at the view's start; raises CorruptPack


def open_index(path: Path, reels: Path, open_reel: Path, *, read_only: bool = False) -> Index:
    """The index of a state; an absent one is made only where there is nothing that it would have to know.

    A new one would know no pack of the open reel, and a start cuts off what no row knows. Raises `IndexUnusable`.
    """
    is_new = not _size(path)
    if is_new and (_size(open_reel) or next(reels.glob(f"*{REEL_SUFFIX}"), None) is not None):
        raise IndexCorrupt(path, "is gone or empty, and there are packs that it should know")
    return Index(path, read_only=read_only)


def recover_open_reel(path: Path, index: Index, fmt: ObjectFormat) -> Recovered:
    """Make open reel and index agree after any stop.

    A torn tail is normal: bytes behind the last row belong to nothing acknowledged and are cut off. Rows whose
    packs the file does not hold (it was lost, or its disk lied about a sync) are forgotten, to be encoded or fetched
    again: all beyond the end, and from the last one back those whose bytes are not theirs, up to the first that is
    whole. Damage further inside is for fsck (`verify_open_reel`).
    """
    size = _size(path)
    dropped: list[ObjectId] = []
    end, before = 0, MAX_BYTES
    while (last := index.packs.open_row_before(before)) is not None:
        before = _offset(last)
        if before + last.size <= size and all(check.good for check in verify_open_reel(path, [last])):
            end = before + last.size
            break
        dropped.append(last.oid)
    if dropped:
        index.packs.drop(dropped)
    if end < size:
        with OpenReelWriter(path, fmt) as writer:
            writer.truncate_to(end)
    return Recovered(tuple(dropped), max(0, size - end))


def verify_open_reel(path: Path, rows: Iterable[PackRow]) -> Iterator[PackCheck]:
    """Say of each pack that the index puts into the open reel whether its bytes are there (for fsck)."""
    placed = ((Row(row.oid, row.size, row.digest or PackDigest(b"")), _offset(row)) for row in rows)
    yield from check_packs(path, placed)


def set_aside(path: Path) -> Path | None:
    """Move a database with its journal out of the way, as PATH.old; None if there is none. Close it first.

    Where a crash left it half done, the rest is moved: PATH.old gives way to nothing but a database. Raises OSError.
    """
    aside = path.with_name(path.name + ".old")
    is_there = path.exists()
    if is_there:
        for suffix in DB_SUFFIXES:
            Path(f"{aside}{suffix}").unlink(missing_ok=True)
    for suffix in DB_SUFFIXES:
        source = Path(f"{path}{suffix}")
        if source.exists():
            source.rename(f"{aside}{suffix}")
    sync_directory(path.parent)
    return aside if is_there else None


def rebuild_index(
    index: Index,
    reels: Path,
    open_reel: Path,
    fmt: ObjectFormat,
    scan_prefix: ScanPrefix,
    describe: Describe,
    listed: Mapping[ReelName, Listed],
    progress: Callable[[int], None] | None = None,
) -> Rebuilt:
    """Fill an empty index from the reels directory, the open reel and what the held catalogue lists.

    Packs with their table's digest are described; the others of a reel become remote, and the reel partial.
    ``progress`` is told the bytes read since its last call. A reel that is neither listed nor whole nor has its
    .torrent is left out, as a problem: its infohash is nowhere to be found.
    """
    found = _Finds(index, describe, progress or (lambda _: None))
    for path in sorted(reels.glob(f"*{REEL_SUFFIX}")):
        found.add_reel(path, fmt, listed)
    for name, reel in listed.items():
        if index.reels.by_name(name) is None:
            index.reels.put(name, *reel, stage="remote")
    if open_reel.exists() and open_reel.stat().st_size:
        found.add_open_reel(open_reel, scan_prefix)
    return Rebuilt(len(index.reels.all()), index.packs.count(), tuple(found.problems))


class _Finds:
    """The rebuilding of one index: where it writes, whom it asks, what it has to tell."""

    def __init__(self, index: Index, describe: Describe, progress: Callable[[int], None]) -> None:
        self._index = index
        self._describe = describe
        self._progress = progress
        self.problems: list[str] = []

    def add_reel(self, path: Path, fmt: ObjectFormat, listed: Mapping[ReelName, Listed]) -> None:
        try:
            foot, rows = read_reel(path, fmt)
        except CorruptReel as error:
            # Lazily fetched reels may lack their end: the catalogue makes them known, the swarm brings it.
            name = ReelName(path.name.removesuffix(REEL_SUFFIX))
            if name in listed:
                self._index.reels.put(name, *listed[name], stage="partial")
            else:
                self.problems.append(error.reason)
            return
        size = path.stat().st_size
        offsets = check_reel_layout(rows, size)
        good: dict[int, Described] = {}
        with _mapped(path) as view:
            for row, offset in zip(rows, offsets, strict=True):
                described = self._read_row(view[offset : offset + row.length], row, path)
                if described is not None:
                    good[offset] = described
                self._progress(row.length)
        whole = len(good) == len(rows)
        reel = listed.get(foot.name) or self._unlisted(path, size, len(rows), whole)
        if reel is None:
            return
        if (reel.size, reel.rows) != (size, len(rows)):
            self.problems.append(f"{path.name}: the catalogue lists it with another size or number of packs")
            return
        with self._index.transaction():
            reel_id = self._index.reels.put(foot.name, *reel, stage="complete" if whole else "partial")
            packs = [ReelPack(r.oid, r.length, r.digest, o) for r, o in zip(rows, offsets, strict=True)]
            for oid in self._index.packs.put_reel_rows(reel_id, packs, 0):
                self.problems.append(f"{path.name}: the pack of {oid.hex()} differs from that of another reel")
            self._index.packs.set_kind_time(SeenPack(d.oid, d.kind, d.time_s, d.parents) for d in good.values())
            for described in good.values():
                self._index.packs.set_stage((described.oid,), described.stage)

    def add_open_reel(self, path: Path, scan_prefix: ScanPrefix) -> None:
        batch: list[LocalPack] = []
        with _mapped(path) as view:
            at = 0
            while at < len(view):
                try:
                    length = scan_prefix(view[at:])
                    pack = view[at : at + length]
                    described = self._describe(pack)
                    digest = PackDigest(hashlib.sha256(pack).digest())
                except CorruptPack as error:
                    # Not a pack of ours: look for the next one. What no row covers at the end is cut at the next start.
                    following = _find(view, at + 1)
                    if not _is_blank(view[at:following]):  # what was withdrawn
                        self.problems.append(f"{path.name}: {following - at} bytes at {at} are no pack: {error.reason}")
                    self._progress(following - at)
                    at = following
                    continue
                known = self._index.packs.get(described.oid)
                if known is None or not self._is_whole_elsewhere(known):
                    oid, kind, time_s, parents, stage = described
                    batch.append(LocalPack(oid, kind, time_s, length, digest, at, parents, stage))
                if len(batch) >= _BATCH:
                    self._index.packs.put_local(batch)
                    batch.clear()
                at += length
                self._progress(length)
        self._index.packs.put_local(batch)

    def _is_whole_elsewhere(self, known: PackRow) -> bool:
        reel = self._index.reels.get(known.reel) if known.reel is not None else None
        return reel is not None and reel.stage == "complete"

    def _read_row(self, pack: memoryview, row: Row, path: Path) -> Described | None:
        if pack[: len(_PACK_START)] != _PACK_START or hashlib.sha256(pack).digest() != row.digest:
            return None
        try:
            described = self._describe(pack)
        except CorruptPack as error:
            self.problems.append(f"{path.name}: the pack of {row.oid.hex()}: {error.reason}")
            return None
        if described.oid != row.oid:
            self.problems.append(f"{path.name}: the pack of {row.oid.hex()} is that of {described.oid.hex()}")
            return None
        return described

    def _unlisted(self, path: Path, size: int, rows: int, whole: bool) -> Listed | None:
        if whole:
            return Listed(build_metainfo(path)[1], size, rows, 0)
        try:
            metainfo = parse_metainfo(metainfo_path_of(path).read_bytes())
            if (metainfo.name, metainfo.size) == (path.name, size):
                return Listed(metainfo.infohash, size, rows, 0)
        except (OSError, BadMetainfo):
            pass
        self.problems.append(f"{path.name}: is damaged and in no catalogue; remove it")
        return None


def _size(path: Path) -> int:
    """0 for what is not there, too."""
    return path.stat().st_size if path.exists() else 0


def _offset(row: PackRow) -> int:
    assert row.offset is not None  # open_rows selects by it
    return row.offset


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    # The map is left to the collector: closing it would fail while a traceback still holds a slice.
    with path.open("rb") as file:
        yield memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _is_blank(view: memoryview) -> bool:
    return all(not any(view[at : at + MIB]) for at in range(0, len(view), MIB))


def _find(view: memoryview, start: int) -> int:
    """Where the next pack may begin; the view's end if nowhere."""
    whole = view.obj
    assert isinstance(whole, mmap.mmap)
    at = whole.find(_PACK_START, start)
    return len(view) if at < 0 else at
