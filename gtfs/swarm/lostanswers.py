# SPDX-License-Identifier: GPL-3.0-or-later
"""What libtorrent was given, or is to let go of, and has not answered: nothing of that infohash is added meanwhile. Its
answer may be among alerts that libtorrent dropped: then it is looked for. Trio loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import libtorrent as lt
import trio

from gtfs.ids import InfoHash
from gtfs.swarm import alerts
from gtfs.swarm.doors import Doors
from gtfs.swarm.pieces import SwarmTimeout
from gtfs.swarm.probe import Probe


class LostAnswers:
    """A session's: of its ``torrents`` that are not answered, its probes and doors; ``answer`` hears what was found."""

    def __init__(
        self,
        torrents: set[InfoHash],
        probes: Mapping[InfoHash, Probe],
        doors: Doors,
        libtorrent: Callable[[], Any],
        answer: Callable[[alerts.Added], None],
    ) -> None:
        self._torrents = torrents
        self._probes = probes
        self._doors = doors
        self._libtorrent = libtorrent
        self._answer = answer
        self._lost = trio.Event()

    def look(self) -> None:
        """Alerts were lost."""
        self._lost.set()

    def is_late(self, infohash: InfoHash) -> None:
        """Nobody waits for its answer any more, which may have been lost before."""
        self._torrents.add(infohash)
        self.look()

    def check(self, infohash: InfoHash, name: str) -> None:
        """Raise `SwarmTimeout` where an answer is outstanding: it would be taken for that of who is added now."""
        if infohash in self._torrents:
            raise SwarmTimeout(f"{name}: libtorrent has not answered yet since it had it before")

    async def run_task(self) -> None:
        """Look whenever some were, as long as the session lives."""
        while True:
            await self._lost.wait()
            self._lost = trio.Event()
            for infohash in self._awaited():
                session = self._libtorrent()
                if session is None:
                    return
                # In a thread, as it blocks. libtorrent does one thing after the other: it has seen what it was given.
                handle = await trio.to_thread.run_sync(session.find_torrent, lt.sha1_hash(infohash))
                if infohash in self._awaited():
                    is_in = handle.is_valid()
                    reason = None if is_in else "libtorrent did not take it, and why was lost"
                    self._answer(alerts.Added(infohash, handle if is_in else None, reason))

    def _awaited(self) -> set[InfoHash]:
        probes = {infohash for infohash, probe in self._probes.items() if not probe.entered.is_set()}
        return self._torrents | probes | self._doors.awaited()
