# SPDX-License-Identifier: GPL-3.0-or-later
"""Every commit pack of the node as the mount's PackSource: open reel, whole reels, the swarm, and git (design.md §2).

Look-ups read the index and answer at once; only `Packs.read` waits, for a disk in a thread or for the swarm.
Trio loop only.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Protocol

import trio

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.mount.tree import NotLocal, PackFields, PackGone, PackInfo, SpaceStatistics
from gtfs.pack.encode import Encoder
from gtfs.pack.limits import UNLIMITED
from gtfs.pack.trees import Unencodable
from gtfs.reel.index import ListedPack, PackRow, PackStage, ReelRow
from gtfs.reel.table import CorruptReel
from gtfs.repo.catfile import CatFile
from gtfs.state.state import State
from gtfs.view.news import News
from gtfs.view.openfiles import OpenFiles

log = logging.getLogger(__name__)

_MADE_BYTES = 32 << 20  # of packs that were encoded on demand and are kept for the next read, the last in any case
_IN_MEMORY = 4 << 20  # of one such pack; a larger one lies in a file without a name


class LostBytes(GtfsError):
    """A pack that should be local is not what the index says; `gtfs fsck` tells more."""

    fault = Blame.SYSTEM


class SwarmReel(Protocol):
    """A reel in the swarm, as `gtfs.swarm` gives it."""

    def local_bytes(self, offset: int = 0, length: int | None = None) -> int: ...

    def peers(self) -> int: ...


class SwarmReads(Protocol):
    """The node's swarm: reels by their id in the index."""

    @property
    def is_cache(self) -> bool: ...

    def reel(self, reel_id: int) -> SwarmReel | None: ...

    async def read(self, reel: SwarmReel, offset: int, length: int, read_ahead: int) -> bytes:
        """Raises the mount's `ReadTimedOut` and `NotLocal` for the swarm's own errors."""

    async def read_here(self, reel: SwarmReel, offset: int, length: int) -> bytes | None:
        """The range if it is here, None if it is not any more; nobody is waited for."""


class Packs:
    """See the module."""

    def __init__(self, state: State, swarm: SwarmReads, news: News) -> None:
        self._state = state
        self._swarm = swarm
        self.news = news
        self._as_of = news.reels.number
        self._files = OpenFiles()
        self._encoding = trio.CapacityLimiter(1)
        self._made: OrderedDict[ObjectId, SpooledTemporaryFile[bytes]] = OrderedDict()
        self._made_bytes = 0
        self._reel_rows: dict[int, ReelRow] = {}
        self._damaged: set[Path] = set()  # files that were told of
        self._listed = trio.Event()

    @property
    def is_cache(self) -> bool:
        """Whether a whole reel may let go of pieces at any time."""
        return self._swarm.is_cache

    @property
    def is_listed(self) -> bool:
        """See `mount.tree.PackSource`."""
        return self._listed.is_set()

    async def wait_listed(self) -> None:
        """See `mount.tree.PackSource`."""
        await self._listed.wait()

    async def wait_listable(self) -> None:
        """See `mount.tree.PackSource`."""
        await self.news.asked.wait_tables()

    async def wait_beyond(self, row: int) -> None:
        """See `mount.tree.PackSource`."""
        packs = self._state.index.packs
        await self.news.asked.wait_until(lambda: self.is_listed or bool(packs.listed_after(row, 1)))

    async def wait_known(self, oid: ObjectId) -> None:
        """See `mount.tree.PackSource`."""
        if not self.is_listed and self._state.index.packs.get(oid) is None:
            await self.news.asked.wait(oid)

    def now_listed(self) -> None:
        """The tables of the held catalogue's reels are here, or nobody has given them in time."""
        self._listed.set()
        asked = self.news.asked
        asked.known(asked.oids())
        asked.tables_here()
        asked.more()

    def _forget_old(self) -> None:
        """After news of reels, ask the index again which are whole; their files may be others than before."""
        if self._as_of != self.news.reels.number:
            self._as_of = self.news.reels.number
            self._reel_rows.clear()
            self._damaged.clear()
            self._files.forget()

    async def forget_task(self) -> None:
        """Give back the disk space of files that are gone, though nobody reads."""
        while True:
            await self.news.reels.wait_beyond(self._as_of)
            self._forget_old()

    def info(self, oid: ObjectId) -> PackInfo | None:
        """See `mount.tree.PackSource`."""
        row = self._state.index.packs.get(oid)
        return None if row is None or row.offset is None else self._info(row)

    def info_by_row(self, row: int) -> PackInfo | None:
        """See `mount.tree.PackSource`."""
        found = self._state.index.packs.get_by_row(row)
        return None if found is None or found.offset is None else self._info(found)

    def rows(self, after_row: int, limit: int) -> Sequence[PackFields]:
        """See `mount.tree.PackSource`."""
        packs = self._state.index.packs.listed_after(after_row, limit)
        unsure = [pack[0] for pack in packs if pack[5] is None]
        places = self._state.index.packs.places_between(unsure[0], unsure[-1]) if unsure else {}

        def with_local(pack: ListedPack) -> PackFields:
            row, oid, size, time_s, stage, here = pack
            if here is None:
                # One that has left the reels meanwhile is in the open reel.
                here = self._local_bytes(stage, *places[row], size) if row in places else size
            return row, oid, size, time_s, stage, here

        return [with_local(pack) for pack in packs] if unsure else packs  # type: ignore[return-value]  # none is None

    def statistics(self) -> SpaceStatistics:
        """See `mount.tree.PackSource`."""
        fs = os.statvfs(self._state.repository.path)
        free = fs.f_bavail * fs.f_frsize
        return SpaceStatistics(self._state.index.packs.total_bytes() + free, free, self._state.index.packs.count())

    def xattrs(self, oid: ObjectId) -> dict[bytes, bytes]:
        """See `mount.tree.PackSource`; design.md §9 names them."""
        row = self._state.index.packs.get(oid)
        if row is None:
            return {}
        out = {b"user.gtfs.state": row.stage.encode()}
        reel = None if row.reel is None else self._reel(row.reel)
        if reel is not None:
            out[b"user.gtfs.reel"] = reel.name.encode()
            out[b"user.gtfs.infohash"] = reel.infohash.hex().encode()
            torrent = self._swarm.reel(reel.id)
            out[b"user.gtfs.peers"] = b"%d" % (torrent.peers() if torrent else 0)
        if row.reason:
            out[b"user.gtfs.reason"] = row.reason.encode()
        signoff = self._state.index.signoffs.get(oid)
        if signoff is not None:
            out[b"user.gtfs.signers"] = signoff.vouch.encode()
        return out

    def _reel(self, reel_id: int) -> ReelRow | None:
        self._forget_old()
        reel = self._reel_rows.get(reel_id)
        if reel is None:
            reel = self._state.index.reels.get(reel_id)
            if reel is not None:
                self._reel_rows[reel_id] = reel
        return reel

    def _info(self, row: PackRow) -> PackInfo:
        here = self._local_bytes(row.stage, row.reel, row.offset or 0, row.size)
        return PackInfo(row.row, row.oid, row.size, row.time_s or 0, row.stage, here)

    def _local_bytes(self, stage: PackStage, reel_id: int | None, offset: int, size: int) -> int:
        if stage == "unpacked" or reel_id is None:
            return size
        reel = self._reel(reel_id)
        if reel is None or reel.is_whole:
            return size
        torrent = self._swarm.reel(reel.id)
        return 0 if torrent is None else torrent.local_bytes(offset, size)

    async def read(self, oid: ObjectId, offset: int, length: int, *, read_ahead: int = 0, waits: bool = True) -> bytes:
        """See `mount.tree.PackSource`; raises `ReadTimedOut`, `NotLocal`, `PackGone`, `LostBytes`."""
        while True:
            row = self._state.index.packs.get(oid)
            if row is None or row.offset is None:
                raise PackGone(f"the pack of {oid.hex()} is not known here any more")
            # Sealing moves packs out of the open reel, whose offsets are then used again, and merging out of reels that
            # go: what was read, or was not there to be read, counts only if the pack is still where it was.
            try:
                data = await self._read_row(row, offset, length, read_ahead, waits)
            except (GtfsError, OSError):
                if self._stays(row):
                    raise
            else:
                if self._stays(row):
                    return data

    def _stays(self, row: PackRow) -> bool:
        now = self._state.index.packs.get(row.oid)
        return now is not None and (now.reel, now.offset) == (row.reel, row.offset)

    async def _read_row(self, row: PackRow, offset: int, length: int, read_ahead: int, waits: bool) -> bytes:
        assert row.offset is not None
        reel = None if row.reel is None else self._reel(row.reel)
        if reel is None:
            return await self._read_file(row, self._state.layout.open_reel, offset, length)
        if reel.is_whole:
            data = await self._read_file(row, self._state.layout.reel(reel.name), offset, length)
            now = self._reel(reel.id)
            # A cache may have let go of it meanwhile: then these may be the zeros of a hole.
            whole_still = now is not None and now.is_whole
            return data if whole_still else await self._read_row(row, offset, length, read_ahead, waits)
        torrent = self._swarm.reel(reel.id)
        is_here = torrent is not None and torrent.local_bytes(row.offset + offset, length) == length
        is_in_git = row.stage == "unpacked"  # what leaves a cache while it is read may be with nobody else
        if is_in_git or not waits:
            here = None
            if torrent is not None and is_here:
                here = await self._swarm.read_here(torrent, row.offset + offset, length)
            if here is not None:
                return here
            if is_in_git:
                return await self._read_made(row, offset, length)
        if torrent is None or not waits:
            raise NotLocal
        # Read-ahead ends with the pack: what follows in the reel is another file.
        read_ahead = max(0, min(read_ahead, row.size - offset - length))
        return await self._swarm.read(torrent, row.offset + offset, length, read_ahead)

    async def _read_file(self, row: PackRow, path: Path, offset: int, length: int) -> bytes:
        """A range of a pack from a file that should have it, or else from git; raises `LostBytes`."""
        assert row.offset is not None
        self._forget_old()
        try:
            return await self._files.read(path, row.offset + offset, length)
        except (OSError, CorruptReel) as e:
            if not self._stays(row):
                raise
            if path not in self._damaged:
                log.error("%s cannot be read (%s); what it should have is made from git or fetched", path, e)
                self._damaged.add(path)
                self.news.wanted.grow()
            if row.stage != "unpacked":
                raise LostBytes(f"the pack of {row.oid.hex()} cannot be read: {e}; run gtfs sync") from None
            return await self._read_made(row, offset, length)

    async def _read_made(self, row: PackRow, offset: int, length: int) -> bytes:
        """A range of an unpacked commit's pack whose reel is not here: encoded again, and equal or refused."""
        async with self._encoding:
            made = self._made.get(row.oid)
            if made is None:
                made = await trio.to_thread.run_sync(self._make, row)
                self._made[row.oid] = made
                self._made_bytes += row.size
                while self._made_bytes > _MADE_BYTES and len(self._made) > 1:
                    _, oldest = self._made.popitem(last=False)
                    self._made_bytes -= oldest.seek(0, os.SEEK_END)
                    oldest.close()
            self._made.move_to_end(row.oid)
            return await trio.to_thread.run_sync(_read_at, made, offset, length)

    def close(self) -> None:
        """Give back the disk space of packs that were made again."""
        while self._made:
            self._made.popitem()[1].close()

    def _make(self, row: PackRow) -> SpooledTemporaryFile[bytes]:
        state = self._state
        # No limits: what it must be is known.
        with contextlib.ExitStack() as exit_stack:
            made = SpooledTemporaryFile(_IN_MEMORY, dir=str(state.repository.state_directory))  # noqa: SIM115  kept open
            exit_stack.callback(made.close)
            with CatFile(state.repository) as reader:
                try:
                    stamp = Encoder(reader, state.repository.fmt, UNLIMITED).encode(row.oid, made.write)
                except Unencodable as e:
                    raise LostBytes(f"the pack of {row.oid.hex()} cannot be made again: {e}; run gtfs fsck") from None
            if stamp.digest != row.digest:
                raise LostBytes(f"the pack of {row.oid.hex()} is not what its reel's table promises; run gtfs fsck")
            exit_stack.pop_all()
            return made


def _read_at(file: SpooledTemporaryFile[bytes], offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)
