# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's reels in the swarm: whole ones seeded, the others fetched in place (design.md §4, §11). Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import trio

from gtfs.durable import replace_file
from gtfs.errors import GtfsError
from gtfs.ids import REEL_SUFFIX
from gtfs.mount.tree import NotLocal, ReadTimedOut
from gtfs.node.filling import fill_reel, move_into
from gtfs.node.state import State
from gtfs.node.store import SwarmReel
from gtfs.reel.index import ReelPack, ReelRow
from gtfs.reel.metainfo import piece_length
from gtfs.reel.table import (
    CorruptReel,
    Footer,
    check_reel_layout,
    footer_range,
    parse_footer,
    parse_table,
    table_range,
)
from gtfs.reel.table import footer as make_footer
from gtfs.swarm.pieces import DiskTrouble, ReadTimeout, SessionClosed, SwarmError, SwarmTimeout
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import Torrent, TorrentSpec

log = logging.getLogger(__name__)

TABLE_SUFFIX = ".table"
RESUME_SUFFIX = ".resume"
METAINFO_SUFFIX = ".torrent"


class Reels:
    """Torrents by their reel's id in the index; without a session every read of what is not here fails at once."""

    def __init__(self, state: State, session: Session | None, read_timeout_s: float) -> None:
        self._state = state
        self._session = session
        self._read_timeout_s = read_timeout_s
        self._torrents: dict[int, Torrent] = {}

    def reel(self, reel_id: int) -> Torrent | None:
        """See `store.SwarmReads`."""
        return self._torrents.get(reel_id)

    async def read(self, reel: SwarmReel, offset: int, length: int, read_ahead: int) -> bytes:
        """See `store.SwarmReads`; raises `ReadTimedOut`, `NotLocal`."""
        assert isinstance(reel, Torrent)
        try:
            return await reel.read(offset, length, deadline_s=self._read_timeout_s, read_ahead=read_ahead)
        except DiskTrouble:
            raise
        except (ReadTimeout, SwarmTimeout) as e:
            raise ReadTimedOut(str(e)) from None
        except (SessionClosed, SwarmError) as e:
            raise NotLocal(str(e)) from None

    async def update(self) -> None:
        """Put every reel that the index knows, and the swarm does not have yet, into the swarm."""
        if self._session is None:
            return
        for row in self._state.index.reels():
            if row.id not in self._torrents and row.state != "retired":
                try:
                    self._torrents[row.id] = await self._session.add(self._spec(row))
                except SwarmError as e:
                    log.error("reel %s is not in the swarm: %s", row.name, e)

    def _spec(self, row: ReelRow) -> TorrentSpec:
        held = self._state.held
        return TorrentSpec(
            file_name=row.name + REEL_SUFFIX, infohash=row.infohash, size=row.size,
            piece_length=piece_length(row.size), directory=self._state.reels,
            metainfo=self._state.reels / (row.name + METAINFO_SUFFIX),
            resume=self._state.reels / (row.name + RESUME_SUFFIX),
            complete=row.state == "complete",
            trackers=() if held is None else held.catalogue.trackers,
            web_seeds=() if held is None else held.catalogue.web_seeds,
        )  # fmt: skip

    def has_table(self, row: ReelRow) -> bool:
        """Whether the reel's packs are in the index."""
        return row.state == "complete" or self._table_path(row).exists()

    def _table_path(self, row: ReelRow) -> Path:
        return self._state.reels / (row.name + TABLE_SUFFIX)

    async def bring_table(self, row: ReelRow, deadline_s: float) -> None:
        """Fetch a reel's footer and table, check them against its name and make its packs known.

        Raises `SwarmError`, `CorruptReel` (a table that is not the one the signed catalogue names).
        """
        torrent = self._torrents.get(row.id)
        if torrent is None:
            raise SwarmTimeout(f"reel {row.name} is not in the swarm")
        with trio.move_on_after(deadline_s) as scope:
            at, length = footer_range(row.size)
            foot = parse_footer(await torrent.read(at, length, deadline_s=deadline_s), self._state.repository.fmt)
            if foot.name != row.name or foot.rows != row.rows:
                raise CorruptReel(f"reel {row.name}: its footer names another table than the catalogue does")
            at, length = table_range(row.size, foot)
            table = await torrent.read(at, length, deadline_s=deadline_s)
        if scope.cancelled_caught:
            raise SwarmTimeout(f"reel {row.name}: no peer gave its table within {deadline_s:g} s")
        await trio.to_thread.run_sync(self._take_table, row, foot, table)

    def _take_table(self, row: ReelRow, foot: Footer, table: bytes) -> None:
        packs = parse_table(table, foot)
        offsets = check_reel_layout(packs, row.size)
        held = self._state.held
        time_s = held.catalogue.date_s if held else 0
        lies = self._state.index.put_reel_rows(
            row.id, [ReelPack(p.oid, p.length, p.digest, o) for p, o in zip(packs, offsets, strict=True)], time_s
        )
        for oid in lies:
            log.error("reel %s has other bytes for %s than are known here; it is left out", row.name, oid.hex())
        replace_file(self._table_path(row), table)

    def _read_table(self, row: ReelRow) -> tuple[Footer, bytes]:
        table = self._table_path(row).read_bytes()
        foot = make_footer(table, row.rows, self._state.repository.fmt)
        return parse_footer(foot), table + foot

    def _fill(self, row: ReelRow) -> int:
        foot, end = self._read_table(row)
        packs = parse_table(end[: foot.table_bytes], foot)
        return fill_reel(self._state, row, packs, check_reel_layout(packs, row.size), end)

    async def fill(self, row: ReelRow) -> int:
        """Take from this machine what it has of a reel, once its table is known; gives the bytes of packs.

        Raises `SwarmError`, OSError.
        """
        torrent = self._torrents.get(row.id)
        if torrent is None or row.state == "complete":
            return 0
        filled = await trio.to_thread.run_sync(self._fill, row)
        if filled:
            await torrent.recheck()
            log.info("reel %s: %d of %d bytes were here already", row.name, filled, row.size)
        return filled

    def settle(self, row: ReelRow) -> None:
        """Let the index point into a reel that has become whole. Blocking; in the writing thread."""
        if self._table_path(row).exists():
            foot, end = self._read_table(row)
            packs = parse_table(end[: foot.table_bytes], foot)
            move_into(self._state, row, packs, check_reel_layout(packs, row.size))

    async def fetch(self, row: ReelRow, progress: Callable[[int, int], None], stall_s: float) -> None:
        """Fetch a whole reel; on return its file is whole and the index says so. Raises `SwarmError`."""
        torrent = self._torrents.get(row.id)
        if torrent is None:
            raise SwarmTimeout(f"reel {row.name} is not in the swarm (this node is offline)")
        await torrent.fetch_all(progress, stall_s=stall_s)
        await torrent.flush()
        await torrent.save_resume()
        self._state.index.set_reel_state([row.id], "complete")

    def traffic(self) -> dict[str, object]:
        """Bytes moved since the start, by reel, and peers; for status."""
        found: dict[str, object] = {}
        for row in self._state.index.reels():
            torrent = self._torrents.get(row.id)
            if torrent is None:
                continue
            s = torrent.statistics()
            failure: GtfsError | None = torrent.failure
            found[row.name] = {
                "peers": s.peers,
                "downloaded": s.downloaded_bytes,
                "uploaded": s.uploaded_bytes,
                "local": torrent.local_bytes(),
                "size": row.size,
                "trackers": s.trackers,
                "failure": str(failure) if failure else None,
            }
        return found

    async def refresh(self) -> None:
        """Make `traffic` say what is so at this moment."""
        for torrent in list(self._torrents.values()):
            try:
                with trio.move_on_after(1):
                    await torrent.refresh()
            except SwarmError as e:
                log.debug("no counters: %s", e)
