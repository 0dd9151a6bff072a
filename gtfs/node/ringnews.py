# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezes the ring again when the signed repository that has it has moved, see `gtfs.state.ringfollow`. Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from gtfs.backoff import Backoff
from gtfs.node.saidonce import SaidOnce
from gtfs.state.ringfollow import RingFollower
from gtfs.state.state import State
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

_EVERY_S = 5.0  # a look at another node's index, of a millisecond; after a failure twice as long each time
_LONGEST_S = 60.0  # what is revoked there is not to count here for long
_UNFOLLOWED_S = 600.0  # and at the settings, whether there is one now that is followed


class RingNews:
    """One node's; ``changed`` is called when the ring has become another one."""

    def __init__(self, state: State, writing: Writing, changed: Callable[[], None]) -> None:
        self._state = state
        self._writing = writing
        self._changed = changed
        self._follower = RingFollower()
        self._others = trio.Event()
        self._said = SaidOnce(log)

    async def look(self) -> None:
        """Look now; what hinders it is in the log and the status."""
        if self._state.config.get("ringrepository") is None:
            return
        what = "the ring that is followed could not be written"
        try:
            if await self._writing.run(self._follower.look, self._state):
                self._changed()
        except OSError as error:  # a full disk; the next look tries again
            self._said.warn(what, error)
        else:
            self._said.is_over(what)

    def look_soon(self) -> None:
        """The settings may be others."""
        self._others.set()

    async def watch_task(self) -> None:
        """Look for ever; less and less often while it fails."""
        rests = Backoff(_EVERY_S, _LONGEST_S)
        while True:
            rest_s = rests.next_s()
            self._others = trio.Event()
            await self.look()
            is_followed = self._state.config.get("ringrepository") is not None
            with trio.move_on_after(rest_s if is_followed else _UNFOLLOWED_S) as rested:
                await self._others.wait()
            if not (self._follower.has_failed and rested.cancelled_caught):
                rests.is_over()
