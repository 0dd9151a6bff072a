# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads of a reel in the swarm, whose torrent may leave and come back meanwhile. Trio loop."""

from __future__ import annotations

import math

from gtfs.mount.tree import NotLocal, ReadTimedOut
from gtfs.node.evictions import Evictions
from gtfs.swarm.pieces import DiskTrouble, ReadTimeout, SessionClosed, SwarmError, SwarmTimeout
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import Torrent


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
