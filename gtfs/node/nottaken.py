# SPDX-License-Identifier: GPL-3.0-or-later
"""Reels that the swarm did not take, as libtorrent did not answer or another reel has the infohash, for the time being.

Trio loop.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from gtfs.backoff import Backoff
from gtfs.errors import GtfsError
from gtfs.ids import ReelName
from gtfs.node.saidonce import SaidOnce

log = logging.getLogger(__name__)

REST_S: Final = 10.0  # before they are tried again; twice as long after each further failure
LONGEST_S: Final = 600.0
_SOME: Final = "not all reels are in the swarm yet"


class NotTaken:
    """One node's."""

    def __init__(self) -> None:
        self._any = trio.Event()
        self._said = SaidOnce(log)

    def note(self, name: ReelName, error: object) -> None:
        """It is not in the swarm, which is told once."""
        self._said.warn(f"reel {name} is not in the swarm yet", error)
        self._any.set()

    def note_some(self, error: object) -> None:
        """Which ones, the next try sees."""
        self._said.warn(_SOME, error)
        self._any.set()

    def note_wrong(self, name: ReelName, error: object) -> None:
        """It never can be as it is listed now, which is told once, too."""
        self._said.warn(f"reel {name} is not in the swarm", error)

    def is_in(self, name: ReelName) -> None:
        """It is."""
        self._said.is_over(f"reel {name} is not in the swarm yet")
        self._said.is_over(f"reel {name} is not in the swarm")

    async def run_task(self, again: Callable[[], Awaitable[None]]) -> None:
        """Call ``again`` a while after some were left out, for ever, later each time; it notes those that still are."""
        rests = Backoff(REST_S, LONGEST_S)
        while True:
            await self._any.wait()
            await trio.sleep(rests.next_s())
            self._any = trio.Event()
            try:
                await again()
            except (GtfsError, OSError) as error:
                self.note_some(error)
            else:
                self._said.is_over(_SOME)
            if not self._any.is_set():
                rests.is_over()
