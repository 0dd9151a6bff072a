# SPDX-License-Identifier: GPL-3.0-or-later
"""A running node reads what is due of its reels when it is asked to, and has damaged ones hashed again. Trio loop."""

from __future__ import annotations

import contextlib
from typing import Any

import trio

from gtfs.node.nursery import cancelled
from gtfs.node.reelspec import LeftCatalogue
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.state.checkdue import check_due
from gtfs.state.control import Tell
from gtfs.state.state import State


class Checks:
    """One node's; one check at a time."""

    def __init__(self, state: State, reel_torrents: ReelTorrents) -> None:
        self._state = state
        self._reel_torrents = reel_torrents
        self._one = trio.Lock()

    async def asked_check(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """What `check_due` gives; libtorrent hashes those again that are damaged, and gives no wrong byte of them.

        Raises `SwarmError`, OSError.
        """

        def told(done: int, total: int) -> None:
            trio.from_thread.run_sync(tell, {"bytes": done, "bytes_of": total})

        async with self._one:
            found = await trio.to_thread.run_sync(check_due, self._state, cancelled, told)
        for reel in self._state.index.reels.all():
            if reel.name in found["damaged"]:
                with contextlib.suppress(LeftCatalogue):  # it has left the swarm, and goes
                    await self._reel_torrents.recheck(reel)
        return found
