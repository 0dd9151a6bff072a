# SPDX-License-Identifier: GPL-3.0-or-later
"""What status says of reels' torrents. Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import trio

from gtfs.reel.index import ReelRow
from gtfs.swarm.peers import share_ratio
from gtfs.swarm.pieces import SwarmError
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)


def describe_traffic(row: ReelRow, torrent: Torrent) -> dict[str, object]:
    """Peers, bytes moved since the start and what is here, as of the last answer of its session."""
    s = torrent.statistics()
    return {
        "peers": s.peers,
        "downloaded": s.downloaded_bytes,
        "uploaded": s.uploaded_bytes,
        "ratio": share_ratio(s.ever_uploaded_bytes, s.ever_downloaded_bytes, row.size),
        "local": torrent.local_bytes(),
        "size": row.size,
        "copies": torrent.copies.count(),
        "trackers": s.trackers,
        "failure": torrent.trouble,
    }


async def refresh_traffic(torrents: Iterable[Torrent]) -> None:
    """Let them say what is so at this moment."""
    for torrent in torrents:
        try:
            with trio.move_on_after(1):
                await torrent.refresh()
        except SwarmError as e:
            log.debug("no counters: %s", e)
