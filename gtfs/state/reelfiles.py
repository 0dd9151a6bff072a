# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's reels on its disk: their tables, and reels made from packs that are here already (design.md §4).

So an existing clone is a seed, and compaction costs no network. Which reels there should be is turnover.py; the
swarm fetches what no local pack gives. Blocking; under the node's lock, in the thread that writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from gtfs.durable import replace_file, sync_directory
from gtfs.ids import ObjectFormat, ObjectId, ReelName
from gtfs.layout import Layout
from gtfs.reel.index import Index, PackRow, ReelPack, ReelRow
from gtfs.reel.openreel import COPY_BYTES, ReelReader, file_chunks
from gtfs.reel.seal import PackToSeal, SealedReel, read_reel, write_reel
from gtfs.reel.table import (
    CorruptReel,
    Row,
    check_reel_layout,
    encode_table,
    footer,
    parse_footer,
    parse_table,
    reel_name,
)

log = logging.getLogger(__name__)

_PUT_AT_ONCE: Final = 2000  # in one transaction; who asks for a pack waits for one
_AT_ONCE: Final = 5000  # packs asked from the index, or told it


class Table(NamedTuple):
    """What a reel holds, in order; ``end`` is its last bytes, table and footer."""

    packs: Sequence[Row]
    offsets: Sequence[int]
    end: bytes


def _placed(pack: Row, offset: int) -> ReelPack:
    return ReelPack(pack.oid, pack.length, pack.digest, offset)


class _Place(NamedTuple):
    path: Path
    offset: int
    is_whole: bool  # else part of the file may be missing


class Lookers(Protocol):
    """Who waits for packs of a table; called in the thread that puts them into the index."""

    def oids(self) -> Set[ObjectId]:
        """The packs that are asked for."""

    def tell_known(self, oids: Collection[ObjectId]) -> None:
        """These of them are there now."""

    def tell_more(self) -> None:
        """More packs are there now."""


class ReelFiles:
    """See the module."""

    def __init__(self, index: Index, layout: Layout, fmt: ObjectFormat) -> None:
        self.index = index
        self.layout = layout
        self.fmt = fmt

    # Tables

    def has_table(self, reel: ReelRow) -> bool:
        """Whether the table of a reel that need not be whole was kept, undamaged."""
        path = self.layout.table(reel.name)
        return path.exists() and reel_name(path.read_bytes()) == reel.name

    def table(self, reel: ReelRow) -> Table | None:
        """The table of a reel that is whole, or as it was kept.

        None where there is none, or it is damaged, or the catalogue says other numbers of it.
        """
        path = self.layout.table(reel.name)
        raw = path.read_bytes() if path.exists() else b""
        if not raw and reel.is_whole:
            try:
                raw = encode_table(read_reel(self.layout.reel(reel.name), self.fmt)[1], self.fmt)
            except (CorruptReel, OSError) as e:
                log.error("reel %s: %s", reel.name, e)
        if not raw or reel_name(raw) != reel.name:
            return None
        try:
            end = raw + footer(raw, reel.rows, self.fmt)
            packs = parse_table(raw, parse_footer(end[len(raw) :]))
            return Table(packs, check_reel_layout(packs, reel.size), end)
        except CorruptReel as e:
            log.error("reel %s is not as it is listed: %s", reel.name, e)
            return None

    def keep_table(
        self,
        reel: ReelRow,
        packs: Sequence[Row],
        time_s: int,
        lookers: Lookers | None = None,
    ) -> None:
        """Make the packs of a table known, once it is known to be the reel's; ``time_s`` until they are seen.

        Those that ``lookers`` ask for come first. All are known once the table is kept: after a crash they are put
        again.
        """
        offsets = check_reel_layout(packs, reel.size)
        for start in range(0, len(packs), _PUT_AT_ONCE):
            self._put_asked(reel, packs, offsets, time_s, lookers)
            end = min(start + _PUT_AT_ONCE, len(packs))
            self._put(reel, [_placed(packs[i], offsets[i]) for i in range(start, end)], time_s)
            if lookers is not None:
                lookers.tell_more()
        self._put_asked(reel, packs, offsets, time_s, lookers)  # since the last look
        replace_file(self.layout.table(reel.name), encode_table(packs, self.fmt))

    def _put_asked(
        self,
        reel: ReelRow,
        packs: Sequence[Row],
        offsets: Sequence[int],
        time_s: int,
        lookers: Lookers | None,
    ) -> None:
        wanted = lookers.oids() if lookers is not None else frozenset()
        found = [_placed(p, at) for p, at in zip(packs, offsets, strict=True) if p.oid in wanted] if wanted else []
        if found and lookers is not None:
            self._put(reel, found, time_s)
            lookers.tell_known([p.oid for p in found])

    def _put(self, reel: ReelRow, packs: Sequence[ReelPack], time_s: int) -> None:
        for oid in self.index.packs.put_reel_rows(reel.id, packs, time_s):
            log.error("reel %s has other bytes for %s than are known here; it is left out", reel.name, oid.hex())

    # Reels from what is here

    @property
    def _reel_rows(self) -> Mapping[int, ReelRow]:
        return {r.id: r for r in self.index.reels.all()}

    def _known(self, packs: Iterable[Row]) -> Iterator[tuple[Row, PackRow | None]]:
        """The packs with what is known of each, some at a time: there may be a million."""
        left = iter(packs)
        while some := list(islice(left, _AT_ONCE)):
            known = self.index.packs.get_many(pack.oid for pack in some)
            yield from ((pack, known.get(pack.oid)) for pack in some)

    def _places(self, packs: Sequence[Row], reel_id: int | None) -> Iterator[_Place | None]:
        reels = self._reel_rows
        for pack, row in self._known(packs):
            place = None
            if row is not None and row.digest == pack.digest and row.offset is not None:
                if row.reel is None:
                    place = _Place(self.layout.open_reel, row.offset, True)
                elif row.reel != reel_id:
                    place = _Place(self.layout.reel(reels[row.reel].name), row.offset, reels[row.reel].is_whole)
            yield place

    def is_here(self, reel: ReelRow, packs: Sequence[Row]) -> bool:
        """Whether all packs of a reel are whole on this disk outside of it."""
        return all(place is not None and place.is_whole for place in self._places(packs, reel.id))

    def make(self, packs: Sequence[Row], reel_id: int | None = None) -> SealedReel | None:
        """The reel of these packs, if all of them are whole on this disk outside of it; None if they are not.

        The index is not told. Raises OSError.
        """
        sources = []
        for pack, place in zip(packs, self._places(packs, reel_id), strict=True):
            if place is None or not place.is_whole:
                return None
            sources.append(
                PackToSeal(pack.oid, pack.length, pack.digest, file_chunks(place.path, place.offset, pack.length))
            )
        try:
            return write_reel(self.layout.reels, sources, self.fmt)
        except (CorruptReel, FileNotFoundError) as e:
            log.error("reel %s is not made from what is here: %s", reel_name(encode_table(packs, self.fmt)), e)
            return None

    def make_listed(self, reel: ReelRow, packs: Sequence[Row], time_s: int) -> bool:
        """Make a reel of the catalogue from what is here, whole; False, and nothing changed, if it cannot be.

        The swarm must not have it. Raises OSError.
        """
        made = self.make(packs, reel.id)
        if made is None:
            return False
        if (made.name, made.infohash) != (reel.name, reel.infohash):
            log.error("reel %s is listed with the infohash of other bytes", reel.name)
            self.remove(reel.name)
            return False
        with self.index.transaction():
            self.index.reels.set_stage([reel.id], "complete")
            self.keep_table(reel, packs, time_s)
        return True

    def fill(self, reel: ReelRow, table: Table) -> int:
        """Write what is here of a reel, and its end, to its offsets; gives the bytes of packs.

        Whoever hashes the file next finds their pieces whole. Raises OSError.
        """
        if self.index.reels.holds_all(reel):
            return 0  # nothing lies elsewhere
        here = zip(table.packs, table.offsets, self._places(table.packs, reel.id), strict=True)
        filled = 0
        with contextlib.ExitStack() as stack:
            fd = -1
            for pack, at, place in here:
                if place is None or not _is_there(place, pack):
                    continue
                if fd < 0:
                    fd = os.open(self.layout.reel(reel.name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                    stack.callback(os.close, fd)
                    os.ftruncate(fd, reel.size)
                for chunk in file_chunks(place.path, place.offset, pack.length)():
                    at += os.pwrite(fd, chunk, at)
                filled += pack.length
            if fd >= 0:
                os.pwrite(fd, table.end, reel.size - len(table.end))
                os.fsync(fd)
        return filled

    def adopt(self, reel: ReelRow, table: Table, leaving: Collection[int]) -> int:
        """Let packs have their place in a reel: those of ``leaving`` reels, and if it is whole those of the open reel
        and of reels that are not. Gives how many moved."""
        reels = self._reel_rows
        places: list[tuple[ObjectId, int]] = []
        for (pack, row), offset in zip(self._known(table.packs), table.offsets, strict=True):
            if row is None or row.digest != pack.digest or row.reel == reel.id:
                continue
            is_worse = row.reel is None or not reels[row.reel].is_whole
            if row.reel in leaving or (reel.is_whole and is_worse):
                places.append((pack.oid, offset))
        if places:
            self.index.packs.move_to_reel(reel.id, places)
        return len(places)

    def remove(self, name: ReelName) -> None:
        """Delete a reel's files, durably; the swarm must not have it any more. Raises OSError."""
        layout = self.layout
        for path in (layout.table(name), layout.resume(name), layout.metainfo(name), layout.reel(name)):
            path.unlink(missing_ok=True)
        sync_directory(layout.reels)

    def sweep_strays(self) -> None:
        """Remove reels that a crash left before the index heard of them, if every pack of them is elsewhere too."""
        for name in self.layout.reel_names():
            path = self.layout.reel(name)
            if self.index.reels.by_name(name) is not None:
                continue
            try:
                packs = read_reel(path, self.fmt)[1]
            except (CorruptReel, OSError):
                continue  # fsck tells of it
            if all(place is not None and place.is_whole for place in self._places(packs, None)):
                log.info("%s is left from a crash, its packs are elsewhere too; it is removed", path.name)
                self.remove(name)


def _is_there(place: _Place, pack: Row) -> bool:
    """Of a file that may have holes, only what has the digest that it should have."""
    if place.is_whole:
        return True
    digest = hashlib.sha256()
    try:
        with ReelReader(place.path) as reader:
            if reader.read(place.offset, 4) != b"PACK":  # a hole, most of the time
                return False
            for at in range(place.offset, place.offset + pack.length, COPY_BYTES):
                digest.update(reader.read(at, min(COPY_BYTES, place.offset + pack.length - at)))
    except (OSError, CorruptReel):
        return False
    return digest.digest() == pack.digest
