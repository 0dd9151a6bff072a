# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a mirror's hooks after refs have moved, one run at a time, and again after a while if one failed. Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from gtfs.errors import GtfsError
from gtfs.node.nursery import cancelled
from gtfs.state.hooks import follows_hooks, run_hooks
from gtfs.state.state import State
from gtfs.view.news import Count

log = logging.getLogger(__name__)

_AGAIN_S = 30.0  # after a failure; twice as long after each further one
_LONGEST_S = 3600.0


class HookRuns:
    """One node's; nobody waits for it, and it waits for nobody's writing.

    ``before`` is awaited first: it makes what hooks may read.
    """

    def __init__(
        self,
        state: State,
        moved: Count,
        before: Callable[[], Awaitable[None]],
        directories: Sequence[Path],
        threads: trio.CapacityLimiter,
    ) -> None:
        self._state = state
        self._directories = directories
        self._moved = moved
        self._before = before
        self._threads = threads
        self._one = trio.Lock()
        self.running: str | None = None  # the hook at work

    async def run_task(self) -> None:
        """Run what a former node left, and whenever refs have moved."""
        wait_s = _AGAIN_S
        while True:
            seen = self._moved.number
            if await self.look():
                wait_s = _AGAIN_S
                await self._moved.wait_beyond(seen)
                continue
            with trio.move_on_after(wait_s):
                await self._moved.wait_beyond(seen)
            wait_s = min(2 * wait_s, _LONGEST_S)

    async def look(self) -> bool:
        """Run the hooks that have something to hear; False if one has to be tried again."""

        def running(hook: str | None) -> None:
            self.running = hook

        async with self._one:
            await self._before()
            if not follows_hooks(self._state):
                return True
            try:
                run = partial(run_hooks, self._state, cancelled, running, self._directories)
                return await trio.to_thread.run_sync(run, limiter=self._threads)
            except (GtfsError, OSError) as error:
                log.warning("no hook runs: %s", error)
                return False
