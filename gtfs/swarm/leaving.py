# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking torrents out of a session that others go on using: one's own, and nobody else's. Trio loop.

Of two nodes of one process that have the same file, the torrent is of that one in whose place it lies.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

import trio

from gtfs.ids import InfoHash
from gtfs.swarm.pieces import SessionClosed
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)

AT_ONCE: Final = 16
WITHIN_S: Final = 30.0  # all of them; libtorrent takes milliseconds for one


async def leave(session: Session, infohash: InfoHash, directory: Path) -> None:
    """Take a torrent out if its file lies in ``directory``. Raises `SessionClosed`."""
    torrent = session.torrent(infohash)
    if torrent is not None and torrent.spec.directory == directory:
        await session.remove(infohash)


async def leave_below(session: Session, directory: Path) -> None:
    """Take out all torrents whose files lie below ``directory``, whoever put them in; not less if it is cancelled.

    Nothing is done in a session that is about to end, which takes a thousand repositories out at once.
    """
    # A turn of the loop: who cancels everything has said so by then.
    await trio.lowlevel.cancel_shielded_checkpoint()
    if session.is_ending:
        return
    below = f"{directory}{os.sep}"
    found = [torrent for torrent in session.torrents() if f"{torrent.spec.directory}{os.sep}".startswith(below)]
    some = trio.CapacityLimiter(AT_ONCE)

    async def leave_one(torrent: Torrent) -> None:
        async with some:
            with contextlib.suppress(SessionClosed):
                await session.remove(torrent.spec.infohash)

    with trio.move_on_after(WITHIN_S, shield=True) as scope:
        async with trio.open_nursery() as nursery:
            for torrent in found:
                nursery.start_soon(leave_one, torrent)
    if scope.cancelled_caught:
        log.warning("not all that lies in %s has left the swarm within %g s", directory, WITHIN_S)
