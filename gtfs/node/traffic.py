# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gives and who takes: share ratios and connections, as status shows them. Trio loop."""

from __future__ import annotations

from collections.abc import Iterable

from gtfs.ids import REEL_SUFFIX
from gtfs.swarm.peers import PeerStatus, connections
from gtfs.swarm.torrents import Torrent


def share_ratio(given: int, taken: int, size: int) -> float:
    """What was given for each byte taken; a reel that was made here counts as taken."""
    return round(given / (taken or size), 3) if taken or size else 0.0


def describe_share(torrents: Iterable[Torrent]) -> dict[str, object]:
    """Bytes given and taken since the reels came here, restarts included, and their ratio."""
    given = taken = here = 0
    for torrent in torrents:
        statistics = torrent.statistics()
        given += statistics.ever_uploaded_bytes
        taken += statistics.ever_downloaded_bytes
        here += torrent.local_bytes()
    return {"given": given, "taken": taken, "ratio": share_ratio(given, taken, here)}


async def describe_connections(torrents: Iterable[Torrent]) -> list[dict[str, object]]:
    """Every connection to a peer."""
    return [
        {"reel": torrent.spec.file_name.removesuffix(REEL_SUFFIX), **describe_peer(peer)}
        for torrent in torrents
        if torrent.peers()
        for peer in await connections(torrent)
    ]


def describe_peer(peer: PeerStatus) -> dict[str, object]:
    """One connection, without the reel."""
    return {
        "address": peer.address,
        "port": peer.port,
        "client": peer.client,
        "kind": peer.kind,
        "incoming": peer.incoming,
        "encrypted": peer.encrypted,
        "progress": round(peer.progress, 4),
        "downloaded": peer.downloaded_bytes,
        "uploaded": peer.uploaded_bytes,
        "download_rate": peer.download_rate,
        "upload_rate": peer.upload_rate,
    }
