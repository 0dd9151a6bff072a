# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete peers of complete torrents: counted, and hung up on where a session has many connections. Trio loop.

Two that both have everything have nothing to say to each other, and neither dials the other. With a thousand
repositories of the same two daemons that was a thousand connections, each with buffers and a descriptor at both ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from gtfs.swarm.peers import count_complete, leave
from gtfs.swarm.torrents import Torrent

LOOK_S = 15.0
FEW = 200  # connections of a session, that stay: whoever comes hears of peers from those who are connected


class WholePeers:
    """``torrents`` gives all of a session, ``connections`` how many it has, ``dials``: complete torrents dial, too."""

    def __init__(
        self, torrents: Callable[[], Sequence[Torrent]], connections: Callable[[], int], *, dials: bool
    ) -> None:
        self._torrents = torrents
        self._connections = connections
        self._dials = dials

    async def run_task(self) -> None:
        """As long as the session lives."""
        while True:
            await trio.sleep(LOOK_S)
            await self.look(FEW)

    async def look(self, most: int) -> int:
        """Count them, and hang up on them if there are more than ``most`` connections; gives how many it hung up on."""
        whole = [torrent for torrent in self._torrents() if torrent.peers() and torrent.is_complete()]
        complete = await count_complete(whole)
        if self._dials or self._connections() <= most or not complete:
            return 0
        await leave(complete)
        return len(complete)
