# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads of a reel in the swarm, whose torrent may leave and come back meanwhile; its table, and what a fetch left.

Trio loop.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from gtfs.ids import ObjectFormat
from gtfs.mount.tree import NotLocal, ReadTimedOut
from gtfs.node.evictions import Evictions
from gtfs.node.nursery import open_flat_nursery
from gtfs.reel.index import ReelRow
from gtfs.reel.table import CorruptReel, Footer, footer_range, parse_footer, table_range
from gtfs.swarm import files
from gtfs.swarm.httpget import Client
from gtfs.swarm.pieces import DiskTrouble, ReadTimeout, SessionClosed, SwarmError, SwarmTimeout
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import Torrent
from gtfs.swarm.webseeds import bring_info_task

log = logging.getLogger(__name__)


async def read_through(
    reel: Torrent, session: Session | None, evictions: Evictions, offset: int, length: int, read_ahead: int
) -> bytes:
    """A range of a reel, fetched where it is not here; how long that may take, the caller says.

    Raises `DiskTrouble`, and the mount's `ReadTimedOut` and `NotLocal` for the swarm's other errors.
    """
    try:
        while True:
            await evictions.wait_left(reel.spec.infohash)
            try:
                return await reel.read(offset, length, deadline_s=math.inf, read_ahead=read_ahead)
            except SessionClosed:
                await evictions.wait_left(reel.spec.infohash)
                again = session.torrent(reel.spec.infohash) if session is not None else None
                if again is None or again is reel:
                    raise
                reel = again
    except DiskTrouble:
        raise
    except (ReadTimeout, SwarmTimeout) as e:
        raise ReadTimedOut(str(e)) from None
    except (SessionClosed, SwarmError) as e:
        raise NotLocal(str(e)) from None


@asynccontextmanager
async def asking_web_seeds(client: Client | None, torrent: Torrent) -> AsyncIterator[None]:
    """Ask web seeds for the metadata, too, as long as the block runs."""
    async with open_flat_nursery() as nursery:
        if client is not None and not torrent.is_ready():
            nursery.start_soon(bring_info_task, client, torrent)
        yield
        nursery.cancel_scope.cancel()


async def read_table(torrent: Torrent, row: ReelRow, fmt: ObjectFormat) -> tuple[Footer, bytes]:
    """A reel's footer, and its table, which is still to be checked against that; how long it may take, the caller says.

    Raises `SwarmError`, `CorruptReel` for a footer that does not fit the reel.
    """
    at, length = footer_range(row.size)
    foot = parse_footer(await torrent.read(at, length, deadline_s=math.inf), fmt)
    if foot.name != row.name or foot.rows != row.rows:
        raise CorruptReel(f"reel {row.name}: its footer names another table than the catalogue does")
    at, length = table_range(row.size, foot)
    return foot, await torrent.read(at, length, deadline_s=math.inf)


async def see_end(torrent: Torrent, progress: Callable[[int, int], None], stall_s: float) -> None:
    """Fetch a whole reel again that has lost its end; raises `DiskTrouble` if it does so again, `SwarmError`.

    Pieces that were here long before may have gone with their file; the ones that came are in it.
    """
    path, size = torrent.spec.path, torrent.spec.size
    if await trio.to_thread.run_sync(files.file_size, path) != size:
        log.error("%s has lost its end; it is fetched again", path)
        await torrent.recheck()
        await torrent.fetch_all(progress, stall_s=stall_s)
        await torrent.questions.flush()
        if await trio.to_thread.run_sync(files.file_size, path) != size:
            raise DiskTrouble(f"{path} does not stay whole; somebody else changes it, or the disk fails")
