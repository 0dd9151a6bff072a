# SPDX-License-Identifier: GPL-3.0-or-later
"""What status says of the reels' torrents. Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from gtfs.node.reeltorrents import ReelTorrents
from gtfs.reel.index import ReelRow
from gtfs.swarm.peers import share_ratio
from gtfs.swarm.pieces import SwarmError
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)


def describe_reels(rows: Sequence[ReelRow], reel_torrents: ReelTorrents) -> dict[str, object]:
    """By reel: peers, bytes moved since the start and what is here, as of the last answer of its session."""
    found = ((row, reel_torrents.reel(row.id)) for row in rows)
    return {row.name: _describe(row, torrent) for row, torrent in found if torrent is not None}


async def refresh_traffic(torrents: Sequence[Torrent]) -> None:
    """Make `describe_reels` say what is so at this moment."""
    for torrent in torrents:
        try:
            with trio.move_on_after(1):
                await torrent.refresh()
        except SwarmError as e:
            log.debug("no counters: %s", e)


def _describe(row: ReelRow, torrent: Torrent) -> dict[str, object]:
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
