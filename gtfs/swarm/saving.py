# SPDX-License-Identifier: GPL-3.0-or-later
"""Resume data of a session's torrents, kept now and then, and when one leaves. Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from gtfs.swarm.pieces import SwarmError
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)

SAVE_EVERY_S = 30.0


class Saving:
    """``torrents`` gives all of a session."""

    def __init__(self, torrents: Callable[[], Sequence[Torrent]]) -> None:
        self._torrents = torrents

    async def run_task(self) -> None:
        """As long as the session lives, one after the other."""
        while True:
            await trio.sleep(SAVE_EVERY_S)
            for torrent in self.changed():
                await self.save(torrent)

    def changed(self) -> list[Torrent]:
        """Those of which there is more to keep than is kept."""
        return [torrent for torrent in self._torrents() if torrent.is_ready() and torrent.tally.needs_saving]

    async def save_all(self, torrents: Sequence[Torrent]) -> None:
        """All at once."""
        async with trio.open_nursery() as nursery:
            for torrent in torrents:
                nursery.start_soon(self.save, torrent)

    async def save(self, torrent: Torrent) -> None:
        """One of them; what cannot be kept is kept next time."""
        if not torrent.tally.needs_saving:
            return
        try:
            await torrent.save_resume()
        except (SwarmError, OSError) as error:
            torrent.tally.needs_saving = True
            log.warning("%s: resume data was not kept: %s", torrent.spec.resume, error)
