# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done as connections are made: TCP_NODELAY, and who gave false metadata is hung up on. Trio loop."""

from __future__ import annotations

import trio

from gtfs.swarm.nodelay import NoDelay
from gtfs.swarm.peers import hang_up_on_liar
from gtfs.swarm.torrents import Torrent

NODELAY_REST = 10


class Connecting:
    """A session's."""

    def __init__(self) -> None:
        self._connected: set[tuple[str, int]] = set()
        self._deceived: list[Torrent] = []
        self._any = trio.Event()

    def made(self, endpoint: tuple[str, int]) -> None:
        """There is a connection to this one."""
        self._connected.add(endpoint)
        self._any.set()

    def deceived(self, torrent: Torrent) -> None:
        """Somebody gave it metadata that are not its."""
        self._deceived.append(torrent)
        self._any.set()

    async def run_task(self) -> None:
        """See to it, as long as the session lives."""
        no_delay = NoDelay()
        while True:
            await self._any.wait()
            endpoints, self._connected = frozenset(self._connected), set()
            self._any = trio.Event()
            started_s = trio.current_time()
            await trio.to_thread.run_sync(no_delay.set, endpoints)
            while self._deceived:
                await hang_up_on_liar(self._deceived.pop())
            # Each turn looks at every descriptor: when hundreds of peers come at once, few turns must do.
            await trio.sleep(NODELAY_REST * (trio.current_time() - started_s))
