# SPDX-License-Identifier: GPL-3.0-or-later
"""A session's life in the DHT: entering it, announcing when it has grown, seeking peers where libtorrent does not look.

libtorrent announces and looks for peers when a torrent is added and every quarter of an hour, and never asks its own
node. In a DHT that was empty a moment ago, or of two nodes, that finds nobody. Trio loop only.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import trio

from gtfs.ids import InfoHash
from gtfs.swarm.dht import Dht
from gtfs.swarm.link import Link
from gtfs.swarm.settings import SwarmOptions

JOIN_FIRST_S = 2.0
JOIN_LAST_S = 600.0
SEEK_S = 2.0
SEEK_LAST_S = 600.0
AT_ONCE = 4
FEW = 16  # of so few nodes each one counts
TOLD_AT_ONCE, TELL_EVERY_S = 4, 1.0  # torrents; three or four packets each to every node of a small DHT

Seekers = Callable[[], dict[InfoHash, Link]]


class Membership:
    """``everybody`` gives all torrents, ``lonely`` those that want something and have no peer."""

    def __init__(
        self, options: SwarmOptions, dht: Dht, everybody: Callable[[], Iterable[Link]], lonely: Seekers
    ) -> None:
        self._options = options
        self._dht = dht
        self._everybody = everybody
        self._lonely = lonely
        self._announced_to = 0  # how many nodes were known when everything was announced last
        self._untold: deque[Link] = deque()  # what is still to be announced for that
        self._grown = trio.Event()
        self._hurried = trio.Event()
        self._turns: dict[InfoHash, tuple[float, float]] = {}  # when it is sought next, and how long to wait then

    def on_nodes(self, count: int) -> None:
        """libtorrent's DHT node knows so many others now."""
        grown = count > self._announced_to and (count <= FEW or count >= 2 * self._announced_to)
        if grown or count < self._announced_to:
            self._announced_to = count
        if grown:
            # Who waits already stays first: nodes may come faster than all are told.
            everybody = dict.fromkeys(self._everybody())
            self._untold = deque(dict.fromkeys([*(link for link in self._untold if link in everybody), *everybody]))
            self._grown.set()

    def hurry(self) -> None:
        """Somebody is lonely who was not there a moment ago: seek peers at once."""
        self._hurried.set()

    async def run_task(self, session: Callable[[], Any]) -> None:
        """All of it, as long as the session lives, None when it is closed."""
        if not self._options.dht or self._options.proxy is not None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._join_task, session)
            nursery.start_soon(self._announce_task)
            nursery.start_soon(self._seek_task)

    async def _join_task(self, session: Callable[[], Any]) -> None:
        # Again and again: the nodes that the user named may come later than we.
        wait_s = JOIN_FIRST_S
        while self._options.dht_nodes and session() is not None:
            for node in self._options.dht_nodes:
                session().add_dht_node(node)
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, JOIN_LAST_S)

    async def _announce_task(self) -> None:
        """A few at once, then one now and then: other clients shut out who sends 50 packets in 10 s (facts.md)."""
        next_s = -math.inf
        while True:
            if not self._untold:
                self._grown = trio.Event()
                await self._grown.wait()
            next_s = max(next_s, trio.current_time() - (TOLD_AT_ONCE - 1) * TELL_EVERY_S)
            await trio.sleep_until(next_s)
            if self._untold:
                self._untold.popleft().call("force_dht_announce")
                next_s += TELL_EVERY_S

    async def _seek_task(self) -> None:
        while True:
            with trio.move_on_after(SEEK_S):
                await self._hurried.wait()
            self._hurried = trio.Event()
            lonely = self._lonely()
            self._turns = {infohash: turn for infohash, turn in self._turns.items() if infohash in lonely}
            now_s = trio.current_time()
            due = [infohash for infohash in lonely if self._turns.get(infohash, (-math.inf, 0.0))[0] <= now_s]
            async with trio.open_nursery() as nursery:
                for infohash in due[:AT_ONCE]:
                    wait_s = min(1.5 * self._turns.get(infohash, (0.0, SEEK_S))[1], SEEK_LAST_S)
                    self._turns[infohash] = (now_s + wait_s, wait_s)
                    nursery.start_soon(self._seek, lonely[infohash], infohash)

    async def _seek(self, link: Link, infohash: InfoHash) -> None:
        for peer in await self._dht.find_peers(infohash):
            link.call("connect_peer", peer)
