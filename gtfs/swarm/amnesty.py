# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that libtorrent banned get another chance when nothing else is left to bring a torrent forward.

A v1 torrent has no hashes of blocks: when a piece fails whose blocks came from several peers, libtorrent takes trust
from all of them, and four such pieces in a row ban a good seed as surely as the liar beside it, for as long as the
session lives (libtorrent's torrent::penalize_peers; each failure costs 2 points, at -7 a peer is banned). A peer on
parole gets pieces of its own, but what was requested before that still counts. Two liars beside the only seed did
this in 10 of 25 downloads on loopback (tests/swarm/test_swarm_robust.py). Where peers share an address, libtorrent's
smart_ban also blames whichever of them it knew first. A liar that is alone with a piece is banned again at once.

libtorrent has no call that lifts a ban, but it forgets a peer that the IP filter meets (peer_list::apply_ip_filter),
and the ban with it. Trio loop only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import libtorrent as lt
import trio

from gtfs.counted import counted
from gtfs.errors import GtfsError
from gtfs.ids import InfoHash
from gtfs.swarm.peers import connections
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)

CHECK_S = 0.5
FIRST_S = 1.5  # without a byte, before bans are lifted: the counters are a second old
LAST_S = 60.0  # it doubles as long as no piece comes; a liar may spoil a piece or a few each time
TRICKLE_S = 30.0  # without a piece, though bytes come: they may be a liar's
BLOCKED = 1  # ip_filter::blocked


class _Patience:
    """How long one torrent has waited for bytes and for a piece."""

    def __init__(self, now_s: float) -> None:
        self._bytes, self._bytes_s = -1, now_s
        self._held, self._held_s = -1, now_s
        self._wait_s = FIRST_S

    def has_ended(self, held: int, downloaded_bytes: int, now_s: float) -> bool:
        """Whether it is time for something else; the next time comes later unless a piece comes."""
        if held != self._held:
            self._held, self._held_s, self._wait_s = held, now_s, FIRST_S
        if downloaded_bytes != self._bytes:
            self._bytes, self._bytes_s = downloaded_bytes, now_s
        quiet_s, barren_s = now_s - max(self._bytes_s, self._held_s), now_s - self._held_s
        if quiet_s < self._wait_s and barren_s < max(self._wait_s, TRICKLE_S):
            return False
        self._bytes_s = self._held_s = now_s
        self._wait_s = min(2 * self._wait_s, LAST_S)
        return True


class Amnesty:
    """``session`` gives libtorrent's session, or None when it is closed; ``torrents`` all that are in it."""

    def __init__(self, session: Callable[[], Any], torrents: Callable[[], Sequence[Torrent]]) -> None:
        self._session = session
        self._torrents = torrents
        self._patience: dict[InfoHash, _Patience] = {}

    async def run_task(self) -> None:
        """Lift bans where it is needed, as long as the session lives."""
        while True:
            await trio.sleep(CHECK_S)
            # Without a piece that failed nobody was banned.
            waiting = [
                t for t in self._torrents() if t.tally.statistics.hash_failures and t.is_ready() and t.is_hungry()
            ]
            known, self._patience = self._patience, {}
            now_s = trio.current_time()
            for torrent in waiting:
                infohash = torrent.spec.infohash
                patience = self._patience[infohash] = known.get(infohash) or _Patience(now_s)
                if patience.has_ended(torrent.board.count_here(), torrent.statistics().downloaded_bytes, now_s):
                    await self._forgive(torrent)

    async def _forgive(self, torrent: Torrent) -> None:
        try:
            banned = await torrent.questions.ask_banned()
        except GtfsError as error:
            log.debug("%s: who is banned is not known: %s", torrent.spec.file_name, error)
            return
        if not banned:
            return
        addresses = {address for address, _ in banned}
        # The filter knows no ports: neighbours of a banned peer on one address lose their connection, too.
        neighbours = [
            (peer.address, peer.port)
            for peer in await connections(torrent)
            if peer.address in addresses and peer.kind == "peer" and not peer.incoming
        ]
        if await self._forget(torrent, addresses):
            log.info("%s: nothing came; %s may try again", torrent.spec.file_name, counted(len(banned), "banned peer"))
            for address, port in dict.fromkeys((*banned, *neighbours)):
                torrent.add_peer(address, port)

    async def _forget(self, torrent: Torrent, addresses: set[str]) -> bool:
        """Make libtorrent forget all that it knows of the addresses' peers, in this torrent only."""
        session = self._session()
        if session is None:
            return False
        # The filter may have entries of libtorrent's own: whoever fishes infohashes out of the DHT.
        usual, passing = await trio.to_thread.run_sync(lambda: (session.get_ip_filter(), session.get_ip_filter()))
        if self._session() is None:
            return False
        for address in addresses:
            passing.add_rule(address, address, BLOCKED)
        others = [other.link for other in self._torrents() if other is not torrent]
        # libtorrent takes these up in their order, with nothing in between that lasts.
        for link in others:
            link.call("unset_flags", lt.torrent_flags.apply_ip_filter)
        session.set_ip_filter(passing)
        session.set_ip_filter(usual)
        for link in others:
            link.call("set_flags", lt.torrent_flags.apply_ip_filter)
        return True
