# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's reels in the swarm: which are in it, and who takes one out (design.md §4, §11). Trio loop.

What is fetched of them is for `gtfs.node.reelfetches`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

import trio

from gtfs.durable import replace_file
from gtfs.errors import GtfsError
from gtfs.metainfo import check_info, wrap_info
from gtfs.node.evictions import Evictions
from gtfs.node.lent import LentTorrents
from gtfs.node.nottaken import NotTaken
from gtfs.node.nursery import cancelled, open_flat_nursery
from gtfs.node.options import NodeOptions
from gtfs.node.reads import read_through
from gtfs.node.reelspec import LeftCatalogue, spec_of, trackers_of
from gtfs.reel.index import ReelRow
from gtfs.reel.table import Row
from gtfs.state.makereel import make_whole
from gtfs.state.repair import Remaking, remake, short_reels
from gtfs.state.state import State
from gtfs.state.withdrawal import withdrawn_reels
from gtfs.swarm.leaving import leave
from gtfs.swarm.pieces import SessionClosed, SwarmError, SwarmTimeout
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import Torrent, TorrentSpec
from gtfs.view.packs import SwarmReel
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

T = TypeVar("T")


class ReelTorrents:
    """Torrents by their reel's id in the index; without a session every read of what is not here fails at once."""

    def __init__(
        self, state: State, session: Session | None, writing: Writing, evictions: Evictions, options: NodeOptions
    ) -> None:
        self._options = options
        self._state = state
        self._writing = writing
        self._session = session
        self._torrents: dict[int, Torrent] = {}
        self._one = trio.Lock()  # who changes which reels are in the swarm, and the files of those he takes out
        self.lent = LentTorrents()
        self.not_taken = NotTaken()
        self.evictions = evictions

    @property
    def is_offline(self) -> bool:
        """Whether nothing can be fetched."""
        return self._session is None

    @property
    def is_cache(self) -> bool:
        """See `packs.SwarmReads`."""
        return self.evictions.is_cache

    def reel(self, reel_id: int) -> Torrent | None:
        """See `packs.SwarmReads`."""
        return self._torrents.get(reel_id)

    async def read(self, reel: SwarmReel, offset: int, length: int, read_ahead: int) -> bytes:
        """See `packs.SwarmReads`; raises `ReadTimedOut`, `NotLocal`. How long it may take, its caller says."""
        assert isinstance(reel, Torrent)
        return await read_through(reel, self._session, self.evictions, offset, length, read_ahead)

    async def read_here(self, reel: SwarmReel, offset: int, length: int) -> bytes | None:
        """See `packs.SwarmReads`."""
        assert isinstance(reel, Torrent)
        try:
            return await reel.read_here(offset, length)
        except SwarmError as e:
            log.debug("read from elsewhere: %s", e)
            return None

    async def update(self) -> None:
        """Put every reel that the index knows, and the swarm does not have yet, into it; drop superseded ones.

        Those that were withdrawn leave it, and stay out; see `NodeOptions.only_wanted` for others. What it does not
        take just now, or the disk fails, is tried again by `run_task`. Raises OSError, where nothing can be written.
        """
        self.tell_gone()
        async with self._one:
            await self._update()

    async def run_task(self) -> None:
        """Put in again what another node took out that had it in its place, and what the swarm did not take."""
        async with open_flat_nursery() as nursery:
            nursery.start_soon(self.lent.run_task, self.update)
            await self.not_taken.run_task(self.update)

    async def _update(self, taken: Collection[int] = ()) -> None:
        """``taken`` were in it: they are again even if the caller is cancelled, as nobody else would see to it."""
        try:
            await self._update_once(taken)
        except (GtfsError, OSError) as error:
            if taken:
                self.not_taken.note_some(error)
            raise

    async def _update_once(self, taken: Collection[int]) -> None:
        with trio.CancelScope(shield=bool(taken)) as scope:
            if not self._state.is_followed:  # first: what is made for it must not be in the swarm
                await self._writing.run(self._state.finish_hold)
            await self._drop_superseded()
            if self._session is None:
                return
            gone = {row.id: row for row in withdrawn_reels(self._state)}
            for row in gone.values():
                await self._leave(row)
            if self._options.meet is not None:
                self._session.doors.open(self._options.meet, trackers_of(self._state), self._state.layout.root)
            for row in sorted(self._state.index.reels.all(), key=lambda row: row.id not in taken):
                scope.shield = row.id in taken
                if row.id in gone or (self._options.only_wanted and not row.is_whole and not self.is_wanted(row)):
                    continue
                if self._is_out(row) and not self.evictions.is_leaving(row.infohash):
                    await self._enter(self._session, row)

    async def _enter(self, session: Session, row: ReelRow) -> None:
        try:
            await self._put(session, row)
        except (SwarmError, OSError):  # it is tried again, and those behind it enter all the same
            pass
        except GtfsError as e:  # of this one's metadata, which are as they are
            self.not_taken.note_wrong(row.name, e)

    async def _put(self, session: Session, row: ReelRow) -> Torrent:
        try:
            torrent = self._torrents[row.id] = await session.add(self.spec(row))
        except (SwarmError, OSError) as e:
            self.not_taken.note(row.name, e)
            raise
        self.not_taken.is_in(row.name)
        if not self.is_own(torrent):
            self.lent.note(torrent)
        return torrent

    def _is_out(self, row: ReelRow) -> bool:
        torrent = self._torrents.get(row.id)
        # Another node of this process may have taken a torrent out that both had: see `lent`.
        return torrent is None or isinstance(torrent.failure, SessionClosed)

    async def mend(self) -> None:
        """Look at the files of whole reels before they are believed, and make again from git what is not there.

        What git does not have either is for a sync to fetch.
        """
        async with self._one:
            short = await self._writing.run(short_reels, self._state)
            try:
                for row in short:
                    await self._mend(row)
            finally:
                if short:
                    self._writing.news.reels.grow()
                    await self._update({row.id for row in short})

    async def _mend(self, row: ReelRow) -> None:
        log.error("reel %s, or its metainfo, is not whole on the disk any more", row.name)
        await self._leave(row)
        self._state.index.reels.set_stage([row.id], "partial")
        self._writing.news.reels.grow()
        try:
            if await self._writing.run(remake, self._state, row, cancelled):
                log.warning("reel %s was made again from git", row.name)
        except (GtfsError, OSError) as e:
            log.error("reel %s cannot be made again just now: %s", row.name, e)

    def tell_gone(self) -> None:
        """Tell of packs that are no more; before the swarm lets go of their reels, which may take long."""
        rows = self._state.index.packs.pop_gone()
        if rows:
            self._writing.news.tree.packs_gone(rows)
            self._writing.news.changed()

    async def _drop_superseded(self) -> None:
        self.tell_gone()
        superseded = self._state.pop_superseded()
        with trio.CancelScope(shield=bool(superseded)):  # nobody else would
            try:
                for row in superseded:
                    await self._leave(row)
                if superseded:
                    await self._writing.run(self._state.drop_superseded, superseded)
            except (GtfsError, OSError):
                self._state.let_go(superseded)  # the next time
                raise
        if superseded:  # whoever has their files open closes them
            self._writing.news.reels.grow()

    async def _leave(self, row: ReelRow) -> None:
        """Take a reel out of the swarm; with `_one`, and who cancels it finds it in the swarm or out of it."""
        await self.evictions.wait_left(row.infohash)  # else its torrent would be back after that
        torrent = self._torrents.pop(row.id, None)
        # What lies in another node's place is that node's to take out.
        if torrent is not None and self._session is not None:
            await leave(self._session, row.infohash, self._state.layout.reels)

    def spec(self, row: ReelRow) -> TorrentSpec:
        """What the swarm is told of a reel."""
        return spec_of(self._state, row, is_quiet=self._options.meet is not None)

    async def keep_metainfo(self, row: ReelRow, info: bytes) -> None:
        """Keep a reel's info dictionary that came by another way than the swarm. Raises `BadMetainfo`, OSError."""
        spec = self.spec(row)

        def work() -> None:
            check_info(info, spec.infohash, spec.file_name, spec.size, spec.piece_length)
            replace_file(spec.metainfo, wrap_info(info))

        await trio.to_thread.run_sync(work)
        torrent = self._torrents.get(row.id)
        if torrent is not None and not torrent.is_ready():
            torrent.link.call("set_metadata", info)

    def has_table(self, row: ReelRow) -> bool:
        """Whether the reel's packs are in the index."""
        return row.is_whole or self._state.reel_files.has_table(row)

    async def make(self, *reels: tuple[ReelRow, Sequence[Row]]) -> bool:
        """Make reels whole of packs that are here, and seed all reels; False if one cannot be. Raises OSError."""
        async with self._one:
            try:
                for row, _ in reels:
                    await self._leave(row)
                made = [await self._writing.run(make_whole, self._state, *reel) for reel in reels]
            finally:
                await self._update({row.id for row, _ in reels})
        return all(made)

    async def encode(self) -> None:
        """Make again from git what a clone has let go of (design.md §12), and seed it. Raises OSError."""
        gone = {row.id for row in withdrawn_reels(self._state)}
        taken: set[int] = set()
        async with self._one:
            try:
                for row in self._state.index.reels.all():
                    if row.id not in gone and not row.is_whole and self.has_table(row):
                        taken.add(row.id)
                        await self._leave(row)
                        await self._writing.run(remake, self._state, row, cancelled)
            finally:
                await self._update(taken)

    async def encode_again(self, row: ReelRow) -> bool:
        """Make a reel whole of which git has all, and seed it; False if git gives it in other bytes. Raises OSError.

        What is here of it is seeded meanwhile, and others write.
        """
        made, writing = Remaking(self._state, row, self._state.layout.spool_beside), self._writing
        if not await writing.run(made.begin):
            return False
        await writing.beside(made.encode, cancelled)
        async with self._one:
            if not await writing.run(made.place):
                return False
            try:
                await self._leave(row)
            finally:
                writing.news.reels.grow()
                await self._update({row.id})
        return True

    def is_wanted(self, row: ReelRow) -> bool:
        """Whether a full sync has to fetch this reel; a cache does without what git has already."""
        if row.is_whole:
            return False
        return not self.is_cache or not self.has_table(row) or not self.is_let_in(row)

    def is_let_in(self, row: ReelRow) -> bool:
        """Whether the way in has no use for this reel any more."""
        return not self._state.index.reels.holds_any(row.id, ("remote", "waiting", "verified"))

    def torrents(self) -> list[Torrent]:
        """This node's torrents."""
        return list(self._torrents.values())

    def met(self) -> list[tuple[int, Torrent]]:
        """Those with peers, by their reels' ids."""
        return [(reel_id, torrent) for reel_id, torrent in self._torrents.items() if torrent.peers()]

    def is_own(self, torrent: Torrent) -> bool:
        """Whether its file lies in this node's place, and not in another's of this process."""
        return torrent.spec.directory == self._state.layout.reels

    def replace(self, row: ReelRow, torrent: Torrent) -> None:
        """The reel's torrent left the swarm and came back."""
        self._torrents[row.id] = torrent

    async def ask(self, row: ReelRow, ask: Callable[[Torrent], Awaitable[T]]) -> T:
        """What ``ask`` gives for the reel's torrent, or for the next one if that is taken out of the swarm meanwhile.

        Raises what ``ask`` does, `SwarmTimeout` on a node that is offline, and `LeftCatalogue`.
        """
        await self.evictions.wait_left(row.infohash)
        while True:
            torrent = self._torrents.get(row.id)
            if torrent is None or torrent.spec.infohash != row.infohash:
                torrent = await self._wait_back(row)
            try:
                return await ask(torrent)
            except SessionClosed:
                if await self._wait_back(row) is torrent:
                    raise

    async def _wait_back(self, row: ReelRow) -> Torrent:
        """The torrent of a reel that was mended, made or trimmed, once it is back; raises as `ask`, `SwarmError`."""
        if self._session is None:
            raise SwarmTimeout(f"reel {row.name} is not in the swarm (this node is offline)")
        async with self._one:  # which is let go of when it is
            await self.evictions.wait_left(row.infohash)
            now = self.listed(row)
            if self._is_out(now):
                await self._put(self._session, now)
            return self._torrents[row.id]

    def listed(self, row: ReelRow) -> ReelRow:
        """The reel as it is now; raises `LeftCatalogue`."""
        now = self._state.index.reels.by_name(row.name)
        if now is None or now.id != row.id or not self._state.lists(row.name):
            raise LeftCatalogue(f"reel {row.name} is in no catalogue any more")
        return now

    async def recheck(self, row: ReelRow) -> None:
        """Have its file hashed again, if it is in the swarm; raises `SwarmError`, `LeftCatalogue`."""
        if self._session is not None:
            await self.ask(row, lambda torrent: torrent.recheck())
