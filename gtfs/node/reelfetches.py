# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node fetches of reels that are in the swarm: their tables, and all of them (design.md §4, §8). Trio loop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

import trio

from gtfs.metainfo import BadMetainfo
from gtfs.node.nursery import cancelled, open_flat_nursery
from gtfs.node.reads import asking_web_seeds, read_table, see_end
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.reel.index import ReelRow
from gtfs.reel.table import CorruptReel, Footer, end_bytes, parse_table
from gtfs.state.makereel import fill
from gtfs.state.state import State
from gtfs.swarm.httpget import Client
from gtfs.swarm.pieces import SwarmError, SwarmTimeout
from gtfs.swarm.samereel import copy_whole
from gtfs.swarm.torrents import Torrent, TorrentSpec
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

# What may be wrong with one reel, and concerns no other.
OF_ONE_REEL: Final = (SwarmError, CorruptReel, BadMetainfo)
ReelError = SwarmError | CorruptReel | BadMetainfo


class ReelFetches:
    """One node's; ``client`` is for the metadata that web seeds have."""

    def __init__(
        self, state: State, reel_torrents: ReelTorrents, writing: Writing, client: Client | None = None
    ) -> None:
        self.reel_torrents = reel_torrents
        self._state = state
        self._writing = writing
        self._client = client

    async def bring_table(self, row: ReelRow, deadline_s: float) -> None:
        """Fetch a reel's footer and table, and make its packs known; raises what the two do."""
        await self.keep_table(row, *await self.fetch_table(row, deadline_s))

    async def fetch_table(self, row: ReelRow, deadline_s: float) -> tuple[Footer, bytes]:
        """The footer of a reel, which fits its name, and its table, which is still to be checked against that.

        Raises `SwarmError`, `LeftCatalogue`, `BadMetainfo` (the catalogue misstates its size), `CorruptReel` (a footer
        that is not the one the signed catalogue names).
        """

        async def read(torrent: Torrent) -> tuple[Footer, bytes]:
            async with asking_web_seeds(self._client, torrent):
                await torrent.wait_metadata(math.inf)
            return await read_table(torrent, row, self._state.repository.fmt)

        with trio.move_on_after(deadline_s):
            return await self.reel_torrents.ask(row, read)
        raise SwarmTimeout(f"reel {row.name}: no peer gave its table within {deadline_s:g} s")

    async def keep_table(self, row: ReelRow, foot: Footer, table: bytes) -> None:
        """Check a table and make its packs known; raises `CorruptReel`, and `LeftCatalogue`."""
        await self._writing.run(self._keep_table, row, foot, table)

    def _keep_table(self, row: ReelRow, foot: Footer, table: bytes) -> None:
        self.reel_torrents.listed(row)
        held = self._state.held
        date_s = 0 if held is None else held.catalogue.date_s
        self._state.reel_files.keep_table(row, parse_table(table, foot), date_s, self._writing.news.asked)

    async def fill(self, row: ReelRow) -> int:
        """Take what is here of a reel, once its table is known; gives bytes of packs.

        Raises `SwarmError`, `BadMetainfo`, `LeftCatalogue` if it leaves the catalogue meanwhile, OSError.
        """
        reel_files = self._state.reel_files
        needs_none = row.is_whole or self.reel_torrents.is_offline
        table = None if needs_none else await trio.to_thread.run_sync(reel_files.table, row)
        if table is None:
            return 0
        packs = table.packs
        is_here = await trio.to_thread.run_sync(reel_files.is_here, row, packs)
        if is_here and await self.reel_torrents.make((row, packs)):
            return sum(pack.length for pack in packs)
        filled = await self._writing.run(fill, self._state, row, table, cancelled)
        if filled:
            await self.reel_torrents.recheck(row)
            log.info("reel %s: %d of %d bytes were here already", row.name, filled, row.size)
        return filled

    async def fetch(
        self, row: ReelRow, progress: Callable[[int, int], None], listed: Callable[[], None], stall_s: float
    ) -> None:
        """Fetch a whole reel; on return its file is whole and the index says so.

        Its table comes first: ``listed`` is called when its packs have become known meanwhile. Raises
        `SwarmError`, `LeftCatalogue` if it leaves the catalogue meanwhile, `BadMetainfo`, `CorruptReel`, OSError.
        """
        self.reel_torrents.evictions.pin(row.id)
        last_bytes = end_bytes(row.rows, self._state.repository.fmt)

        async def fetch(torrent: Torrent) -> None:
            async def list_packs() -> None:
                await torrent.wait_last(last_bytes)
                await self.bring_table(row, stall_s)
                listed()

            async with asking_web_seeds(self._client, torrent), open_flat_nursery() as nursery:
                if not self.reel_torrents.has_table(row):
                    nursery.start_soon(list_packs)
                await torrent.fetch_all(progress, stall_s=stall_s, last_bytes=last_bytes)
            await torrent.questions.flush()
            await see_end(torrent, progress, stall_s)
            await torrent.save_resume()
            try:
                await self._writing.run(self._note_whole, row, torrent.spec)
            except FileNotFoundError:
                torrent.board.check()  # it lay in another node's place, and left it
                raise

        await self.reel_torrents.ask(row, fetch)

    def _note_whole(self, row: ReelRow, fetched: TorrentSpec) -> None:
        spec, now = self.reel_torrents.spec(row), self.reel_torrents.listed(row)
        if now.is_whole:
            return  # it was made meanwhile
        if fetched.path != spec.path:
            copy_whole(fetched.path, fetched.metainfo, spec.path, spec.metainfo)
        self._state.index.reels.set_stage([row.id], "complete")

    def first_bytes(self, row: ReelRow) -> int:
        """How much of a reel's beginning is here, in its own place."""
        torrent = self.reel_torrents.reel(row.id)
        if torrent is None or torrent.spec.path != self._state.layout.reel(row.name):
            return 0
        return torrent.first_bytes()

    async def flush(self, row: ReelRow) -> None:
        """Return when what `first_bytes` said is in the file; raises `SwarmError`, `BadMetainfo`."""
        torrent = self.reel_torrents.reel(row.id)
        if torrent is not None:
            await torrent.questions.flush()
