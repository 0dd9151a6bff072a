# SPDX-License-Identifier: GPL-3.0-or-later
"""What status says of reels' torrents. Trio loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gtfs.reel.index import ReelRow
from gtfs.swarm.peers import share_ratio
from gtfs.swarm.torrents import Torrent


def describe_reels(rows: Iterable[ReelRow], find: Callable[[int], Torrent | None]) -> dict[str, object]:
    """By their names, those of ``rows`` of which ``find`` has a torrent, by their ids."""
    found = ((row, find(row.id)) for row in rows)
    return {row.name: _describe(row, torrent) for row, torrent in found if torrent is not None}


def _describe(row: ReelRow, torrent: Torrent) -> dict[str, object]:
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
