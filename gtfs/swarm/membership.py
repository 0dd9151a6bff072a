# SPDX-License-Identifier: GPL-3.0-or-later
"""A session's life in the DHT: entering it, announcing when it has grown, seeking peers where libtorrent does not look.

libtorrent announces and looks for peers when a torrent is added and every quarter of an hour, and never asks its own
node. In a DHT that was empty a moment ago, or of two nodes, that finds nobody. Trio loop only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import trio

from gtfs.ids import InfoHash
from gtfs.swarm.dht import find_peers
from gtfs.swarm.link import Link
from gtfs.swarm.settings import SwarmOptions

JOIN_FIRST_S = 2.0
JOIN_LAST_S = 600.0
SEEK_S = 2.0
SEEK_LAST_S = 600.0
AT_ONCE = 4
FEW = 16  # of so few nodes each one counts

Seekers = Callable[[], dict[InfoHash, Link]]


class Membership:
    """``everybody`` gives all torrents, ``lonely`` those that want something and have no peer."""

    def __init__(self, options: SwarmOptions, everybody: Callable[[], Iterable[Link]], lonely: Seekers) -> None:
        self._options = options
        self._everybody = everybody
        self._lonely = lonely
        self._announced_to = 0  # how many nodes were known when everything was announced last
        self._turns: dict[InfoHash, tuple[float, float]] = {}  # when it is sought next, and how long to wait then

    def on_nodes(self, count: int) -> None:
        """libtorrent's DHT node knows so many others now."""
        grown = count > self._announced_to and (count <= FEW or count >= 2 * self._announced_to)
        if grown or count < self._announced_to:
            self._announced_to = count
        if grown:
            for link in self._everybody():
                link.call("force_dht_announce")

    async def run_task(self, session: Callable[[], Any], port: int) -> None:
        """All of it, as long as the session lives, None when it is closed; ``port`` is that of our own DHT node."""
        if not self._options.dht or self._options.proxy is not None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._join_task, session)
            nursery.start_soon(self._seek_task, port)

    async def _join_task(self, session: Callable[[], Any]) -> None:
        # Again and again: the nodes that the user named may come later than we.
        wait_s = JOIN_FIRST_S
        while self._options.dht_nodes and session() is not None:
            for node in self._options.dht_nodes:
                session().add_dht_node(node)
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, JOIN_LAST_S)

    async def _seek_task(self, port: int) -> None:
        while True:
            await trio.sleep(SEEK_S)
            lonely = self._lonely()
            self._turns = {infohash: turn for infohash, turn in self._turns.items() if infohash in lonely}
            now_s = trio.current_time()
            due = [infohash for infohash in lonely if self._turns.get(infohash, (-math.inf, 0.0))[0] <= now_s]
            async with trio.open_nursery() as nursery:
                for infohash in due[:AT_ONCE]:
                    wait_s = min(1.5 * self._turns.get(infohash, (0.0, SEEK_S))[1], SEEK_LAST_S)
                    self._turns[infohash] = (now_s + wait_s, wait_s)
                    nursery.start_soon(self._seek, lonely[infohash], infohash, port)

    async def _seek(self, link: Link, infohash: InfoHash, port: int) -> None:
        for peer in await find_peers(self._options, port, infohash):
            link.call("connect_peer", peer)
