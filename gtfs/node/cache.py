# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror with little disk: of its reels it keeps ``cache_size``, and what it lets go of can be had again.

First go pieces that a connected peer has and keeps: of two caches, one does. Then, as nobody else may have them, whole
reels that git gives again byte for byte: it is tried before. When somebody asks for them they come back
(`gtfs.node.ondemand`). Trio loop.
"""

from __future__ import annotations

import errno
import logging
import random
from collections import defaultdict
from collections.abc import Collection
from typing import Final

import trio

from gtfs.counted import counted
from gtfs.durable import replace_file
from gtfs.errors import GtfsError
from gtfs.ids import ReelName
from gtfs.node.nursery import cancelled, open_flat_nursery
from gtfs.node.ondemand import OnDemand
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.node.saidonce import SaidOnce
from gtfs.reel.index import ReelRow
from gtfs.reel.table import encode_table
from gtfs.state.config import BadConfig
from gtfs.state.repair import gives_again
from gtfs.state.state import State
from gtfs.swarm.eviction import evict
from gtfs.swarm.peers import copies_elsewhere
from gtfs.swarm.pieces import SwarmError
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import Torrent
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

EVERY_S = 5.0  # give or take a half
GOAL = 0.9  # of the limit: so that it is not reached again at once
_NO_HOLES: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})  # of a file system


class Cache:
    """Keeps the reels of one node below a limit."""

    def __init__(
        self, state: State, reel_torrents: ReelTorrents, session: Session, writing: Writing, limit_bytes: int
    ) -> None:
        """Raises `BadConfig` on a publisher, whose reels may be the only copy."""
        if state.config.sign_key() is not None:
            raise BadConfig(f"cache_size is for mirrors, and {state.repository.path} publishes; mount it without")
        self._state = state
        self._reel_torrents = reel_torrents
        self._session = session
        self._writing = writing
        self._evictions = reel_torrents.evictions
        self._limit_bytes = limit_bytes
        self._one = trio.Lock()
        self._said = SaidOnce(log)
        self._given_again: dict[ReelName, bool] = {}  # whether git gives a reel as it was published; others are tried
        self._demand = OnDemand(state, reel_torrents, self.has_room)

    def local_bytes(self) -> int:
        """What the reels take on disk."""
        return sum(torrent.local_bytes() for torrent in self._reel_torrents.torrents())

    def status(self) -> dict[str, int]:
        """What gtfs(1) documents under ``cache``."""
        return {"limit": self._limit_bytes, "used": self.local_bytes(), "encoded": self._demand.encoded}

    async def run_task(self) -> None:
        """Keep below the limit, and bring back what is asked for."""
        async with open_flat_nursery() as nursery:
            nursery.start_soon(self._demand.run_task)
            await self.trim_task()

    async def trim_task(self) -> None:
        """Keep below the limit."""
        while True:
            await trio.sleep(random.uniform(0.5, 1.5) * EVERY_S)  # noqa: S311  no secret
            what = f"the cache of {self._state.repository.path} is not trimmed"
            try:
                await self.trim()
            except OSError as e:
                if e.errno in _NO_HOLES:
                    log.error("the cache cannot give space back and grows on: %s", e)
                    return
                self._said.warn(what, e)  # a full disk above all, which it is to make room on
            except SwarmError as e:
                self._said.warn(what, e)
            else:
                self._said.is_over(what)

    async def has_room(self, size: int) -> bool:
        """Whether a reel of this size may come back: one may in any case, more as far as the limit lets them."""
        await self.trim(size)
        return self.local_bytes() + size <= self._limit_bytes or not self._demand.is_any_asked()

    async def trim(self, more: int = 0) -> int:
        """Let go of what was not used for longest until the goal is met, with so many bytes more; gives how many bytes.

        Raises OSError.
        """
        async with self._one:
            excess = self._excess(more)
            freed = await self._trim(excess) if excess > 0 else 0
            return freed + await self._shed(excess - freed)

    def _excess(self, more: int) -> int:
        here = self.local_bytes() + more
        return here - int(GOAL * self._limit_bytes) if here > self._limit_bytes else 0

    async def _trim(self, excess: int) -> int:
        """Pieces that others seed."""
        found: list[tuple[float, int, int, int]] = []
        for row, torrent in self._evictable():
            copies = await copies_elsewhere(torrent, self._session.peer_id)
            held = (p for p in _held(torrent) if copies[p])
            size = torrent.spec.piece_length
            found += ((torrent.last_used.get(piece, 0.0), row.id, piece, size) for piece in held)
        going: dict[int, set[int]] = defaultdict(set)
        for _, reel_id, piece, size in sorted(found):
            if excess <= 0:
                break
            going[reel_id].add(piece)
            excess -= size
        freed = 0
        for reel_id, pieces in going.items():
            # The way in, and whoever merges reels, reads whole ones: not while this goes on.
            async with self._writing.turn():
                freed += await self._evict(reel_id, pieces)
        if freed:
            log.info("let go of %d bytes that others seed, of %s", freed, counted(len(going), "reel"))
        return freed

    async def _shed(self, excess: int) -> int:
        """Reels that git gives again; gives how many bytes."""
        freed = 0
        used = [
            (max(torrent.last_used.values(), default=0.0), row) for row, torrent in self._evictable() if _held(torrent)
        ]
        for _, row in sorted(used, key=lambda found: (found[0], found[1].id)):
            if freed >= excess:
                break
            if await self._may_shed(row):
                async with self._writing.turn():
                    freed += await self._evict(row.id, None)
        if freed:
            log.info("let go of %d bytes that git gives again", freed)
        return freed

    async def _may_shed(self, row: ReelRow) -> bool:
        if not self._reel_torrents.is_let_in(row):
            return False
        if row.name not in self._given_again:
            try:
                gives = await self._writing.beside(gives_again, self._state, row, cancelled)
            except GtfsError as e:
                log.warning("reel %s stays, as it cannot be encoded again just now: %s", row.name, e)
                return False
            await trio.lowlevel.checkpoint_if_cancelled()  # else it was stopped
            self._given_again[row.name] = gives
        return self._given_again[row.name]

    def _evictable(self) -> list[tuple[ReelRow, Torrent]]:
        """The reels of which pieces may go, as far as this node is concerned."""
        found = []
        for row in self._state.index.reels.all():
            torrent = self._reel_torrents.reel(row.id)
            if torrent is None or not torrent.is_ready() or self._evictions.is_pinned(row.id) or row.stage == "retired":
                continue
            if self._demand.is_asked(row.id):
                continue
            if self._reel_torrents.is_own(torrent) and (not row.is_whole or self._reel_torrents.is_let_in(row)):
                found.append((row, torrent))
        return found

    async def _evict(self, reel_id: int, pieces: Collection[int] | None) -> int:
        """These as far as others have them; None: all of what git gives again."""
        # Looked at again: much may have changed since it was chosen.
        for row, torrent in self._evictable():
            if row.id != reel_id:
                continue
            if pieces is None:
                going = _held(torrent) if self._reel_torrents.is_let_in(row) else []
            else:
                copies = await copies_elsewhere(torrent, self._session.peer_id)
                going = [p for p in pieces if torrent.board.is_here(p) and copies[p]]
            if not going or self._evictions.is_pinned(row.id) or self._reel_torrents.reel(reel_id) is not torrent:
                continue
            with self._evictions.leaving(row.infohash):
                await trio.to_thread.run_sync(self._keep_table, row)
                if row.is_whole:
                    self._state.index.reels.set_stage([row.id], "partial")
                self._writing.news.reels.grow()
                try:
                    await evict(self._session, torrent, going)
                finally:
                    again = self._session.torrent(row.infohash)  # also where nothing could be forgotten
                    if again is not None:
                        self._reel_torrents.replace(row, again)
                    else:
                        self._reel_torrents.not_taken.note(row.name, "it did not come back as pieces of it left")
            return len(going) * torrent.spec.piece_length
        return 0

    def _keep_table(self, row: ReelRow) -> None:
        """The table outlives the pieces that hold it."""
        reel_files = self._state.reel_files
        path = reel_files.layout.table(row.name)
        table = None if path.exists() else reel_files.table(row)
        if table is not None:
            replace_file(path, encode_table(table.packs, reel_files.fmt))


def _held(torrent: Torrent) -> list[int]:
    """The pieces that are here, without the last one, which begins every look at a reel: it would be fetched again at
    once."""
    return [piece for piece in range(torrent.board.count - 1) if torrent.board.is_here(piece)]
