# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells an operator's hooks of what was published or withdrawn, and of troubles, beside all else. Trio loop."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from gtfs.errors import GtfsError
from gtfs.events import events
from gtfs.node.nursery import cancelled
from gtfs.node.shared import Shared
from gtfs.overview.troubles import find_troubles
from gtfs.state.eventhooks import run_published_hooks, run_trouble_hooks, run_withdrawn_hooks
from gtfs.state.feeddir import write_set_feed
from gtfs.state.state import State
from gtfs.view.news import Count

log = logging.getLogger(__name__)

_AGAIN_S: Final = 30.0  # after a failure; twice as long after each further one
_LONGEST_S: Final = 3600.0
_JITTER: Final = 0.2
_FLAP_S: Final = 60.0  # before the same kind of trouble is told again; twice as long each time, while it goes on so


class Damper:
    """Holds back a kind of trouble that comes and goes: what is told of it is what has come of it by then."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}
        self._next_s: dict[str, float] = {}
        self._rest_s: dict[str, float] = {}

    def settle(self, found: Mapping[str, str], now_s: float) -> dict[str, str]:
        """What may be told now."""
        for kind in self.told.keys() | found.keys():
            reason = found.get(kind)
            if reason == self.told.get(kind) or now_s < self._next_s.get(kind, -math.inf):
                continue
            is_calm = now_s > self._next_s.get(kind, -math.inf) + 4 * self._rest_s.get(kind, 0)
            self._rest_s[kind] = _FLAP_S if is_calm else min(2 * self._rest_s[kind], _LONGEST_S)
            self._next_s[kind] = now_s + self._rest_s[kind]
            if reason is None:
                del self.told[kind]
            else:
                self.told[kind] = reason
        return dict(self.told)


class EventHooks:
    """One node's. ``status`` gives what find_troubles reads."""

    def __init__(
        self,
        state: State,
        moved: Count,
        status: Callable[[], dict[str, Any]],
        look_s: float,
        directories: Sequence[Path],
        shared: Shared,
    ) -> None:
        self._state = state
        self._directories = directories
        self._moved = moved
        self._status = status
        self._look_s = look_s
        self._shared = shared
        self._damper = Damper()
        self._one = trio.Lock()  # who writes the directory of a web server
        self._said: dict[str, str] = {}
        self.feed_error: str | None = None  # why the directory of a web server is not as it should be

    async def run_task(self) -> None:
        """Look whenever something was published or moved, and now and then, for ever."""
        wait_s = _AGAIN_S
        while True:
            seen = self._moved.number
            is_well = await self.look()
            wait_s = _AGAIN_S if is_well else min(2 * wait_s, _LONGEST_S)
            # Not all of a daemon's at the same moment: each look opens an index.
            look_s = self._look_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  no secret
            with trio.move_on_after(look_s if is_well else min(wait_s, look_s)):
                await self._moved.wait_beyond(seen)

    async def look(self) -> bool:
        """Log troubles that have begun or are over, and run the hooks that have something to hear; False: again."""
        await self.write_feed()
        found = self._damper.settle(find_troubles(self._status()), trio.current_time())
        self._log(found)
        try:
            is_well = await trio.to_thread.run_sync(self._run, found, limiter=self._shared.programs)
        except (GtfsError, OSError) as error:
            log.warning("no hook runs: %s", error)
            return False
        return is_well and self.feed_error is None

    def _run(self, found: dict[str, str]) -> bool:
        of_events = [
            run(self._state, cancelled, self._directories) for run in (run_published_hooks, run_withdrawn_hooks)
        ]
        return run_trouble_hooks(self._state, found, cancelled, self._directories) and all(of_events)

    async def write_feed(self) -> None:
        """Bring the directory of a web server to what is published; what went wrong is `feed_error`."""
        async with self._one:
            self.feed_error = await self._write_feed()

    async def _write_feed(self) -> str | None:
        if self._state.read_only or self._state.config.get("feeddir") is None:
            return None
        try:
            layout, config = self._state.layout, self._state.config
            if await trio.to_thread.run_sync(write_set_feed, layout, config, limiter=self._shared.places):
                events.info("%s: the feed directory is written", self._state.repository.path)
        except OSError as error:
            return f"{error.strerror}: {error.filename}"
        except GtfsError as error:
            return str(error)
        return None

    def _log(self, found: dict[str, str]) -> None:
        path = self._state.repository.path
        for kind, reason in found.items():
            if self._said.get(kind) != reason:
                events.info("%s: trouble: %s: %s", path, kind, reason)
        for kind in self._said.keys() - found.keys():
            events.info("%s: trouble is over: %s", path, kind)
        self._said = found
