# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads of a reel in the swarm, whose torrent may leave and come back meanwhile, and what a fetch left. Trio loop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio

from gtfs.mount.tree import NotLocal, ReadTimedOut
from gtfs.node.evictions import Evictions
from gtfs.swarm import files
from gtfs.swarm.pieces import DiskTrouble, ReadTimeout, SessionClosed, SwarmError, SwarmTimeout
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import Torrent

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
