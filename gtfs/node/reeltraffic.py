# SPDX-License-Identifier: GPL-3.0-or-later
"""What status says of one reel's torrent. Trio loop."""

from __future__ import annotations

from gtfs.reel.index import ReelRow
from gtfs.swarm.peers import share_ratio
from gtfs.swarm.torrents import Torrent


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
