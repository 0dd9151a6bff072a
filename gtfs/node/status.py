# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running node says beside its state: a sync, share ratios and connections, as gtfs(1) has them. Trio loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import trio

from gtfs.catalogue.document import BadCatalogue
from gtfs.ids import REEL_SUFFIX
from gtfs.ingest.refmoves import RefReport
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.node.reeltraffic import describe_reels
from gtfs.node.sync import Progress, SyncReport
from gtfs.reel.index import ReelRow
from gtfs.state.describe import describe_state
from gtfs.state.divergence import Divergence
from gtfs.state.ring import RingWatch
from gtfs.state.state import State
from gtfs.swarm.feeds import FeedReport
from gtfs.swarm.peers import PeerStatus, connections, share_ratio
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import Torrent


class StateLook:
    """The part of a node's status that is on its disk; ``divergence`` is the last look at its refs."""

    def __init__(self, state: State, divergence: Divergence) -> None:
        self._state = state
        self._divergence = divergence
        self._ring_watch = RingWatch()
        self._one = trio.CapacityLimiter(1)  # a disk that does not answer takes one thread, and no other's

    def now(self) -> tuple[dict[str, Any], list[ReelRow]]:
        """At once, without asking gpg, with the rows of its reels; raises what `describe_state` does."""
        return describe_state(self._state, self._divergence, self._ring_watch), self._state.index.reels.all()

    async def look(self) -> tuple[dict[str, Any], list[ReelRow]]:
        """The same in a thread, once gpg has told of the keys."""
        return await trio.to_thread.run_sync(self._look, limiter=self._one)

    def _look(self) -> tuple[dict[str, Any], list[ReelRow]]:
        self._ring_watch.look(self._state)
        return self.now()


def describe_swarm(
    session: Session | None,
    reel_torrents: ReelTorrents,
    rows: Sequence[ReelRow],
    connections: Sequence[dict[str, object]],
) -> dict[str, Any]:
    """What a node gives and takes, reel by reel."""
    return {
        **describe_session(session),
        "share": describe_share(reel_torrents.torrents()),
        "connections": connections,
        "reels": describe_reels(rows, reel_torrents),
    }


def describe_share(torrents: Iterable[Torrent]) -> dict[str, object]:
    """Bytes given and taken since the reels came here, restarts included, and their ratio."""
    given = taken = here = 0
    for torrent in torrents:
        statistics = torrent.statistics()
        given += statistics.ever_uploaded_bytes
        taken += statistics.ever_downloaded_bytes
        here += torrent.local_bytes()
    return {"given": given, "taken": taken, "ratio": share_ratio(given, taken, here)}


def describe_session(session: Session | None) -> dict[str, object]:
    """Where peers find this node, and what it moved since it started."""
    statistics = session.statistics() if session else None
    return {
        "port": session.port if session else None,
        "peers": statistics.peers if statistics else 0,
        "downloaded": statistics.downloaded_bytes if statistics else 0,
        "uploaded": statistics.uploaded_bytes if statistics else 0,
    }


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


def describe_feeds(reports: Iterable[FeedReport]) -> list[dict[str, Any]]:
    """What each feed said last."""
    return [
        {"feed": r.feed, "asked": r.asked_s, "answered": r.answered_s, "error": r.error,
         "exit_code": 0 if r.fault is None else r.fault.exit_code, "failures": r.failures,
         "freshness": r.freshness}
        for r in reports
    ]  # fmt: skip


def describe_progress(p: Progress) -> dict[str, Any]:
    """A sync's progress as it goes over the control socket."""
    return {"bytes": p.bytes_here, "bytes_of": p.bytes_total, "packs": p.packs_done, "packs_of": p.packs_total}


def describe_sync(report: SyncReport) -> dict[str, Any]:
    """What `gtfs sync` shows."""
    missing = {name: {"reason": str(e), "exit_code": e.exit_code} for name, e in report.missing.items()}
    unusable = {
        name: {"reason": why, "exit_code": BadCatalogue.fault.exit_code} for name, why in report.unusable.items()
    }
    return {
        "packs": report.packs,
        "reels": report.reels,
        "bytes": report.total_bytes,
        "refs_moved": report.refs.moved,
        "refs_held_back": {n.decode("utf-8", "replace"): r for n, r in report.refs.held_back.items()},
        "refs_why": _first_whys(report.refs),
        "refs_late": sorted(n.decode("utf-8", "replace") for n in report.refs.late),
        "refs_ahead": {n.decode("utf-8", "replace"): r for n, r in report.refs.ahead.items()},
        "refused": {oid.hex(): reason for oid, reason in report.refused.items()},
        "waiting": report.waiting,
        "faults": report.faults.describe(),
        "listed": report.listed,
        "missing": missing | unusable,
    }


def _first_whys(refs: RefReport) -> dict[str, Any]:
    """The reason as a value of the first ref of each text: a hundred thousand refs may wait for one thing."""
    first = {text: name for name, text in reversed(refs.held_back.items())}
    return {n.decode("utf-8", "replace"): refs.reasons[n].describe() for n in first.values() if n in refs.reasons}
