# SPDX-License-Identifier: GPL-3.0-or-later
"""A collection that a running daemon publishes: new repositories are found, made ready and run, and the list follows.

Nobody is asked for a passphrase here. What happens on disk inotify tells, or a look now and then. Trio loop; disk work
is in threads.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from gtfs.backoff import Backoff
from gtfs.collection.found import Lines
from gtfs.collection.publisher import PROGRESS_S, PublishedCollection, publish_collection
from gtfs.collection.site import PublishedSite, PublishSettings
from gtfs.collection.wanted import WantedRepository
from gtfs.counted import counted
from gtfs.daemon.listbell import ListBell
from gtfs.errors import GtfsError
from gtfs.events import events
from gtfs.node.bell import Bell
from gtfs.node.noticing import Ear, Noticing
from gtfs.node.nursery import open_flat_nursery
from gtfs.node.publishing import wait_quiet
from gtfs.node.saidonce import SaidOnce
from gtfs.state.config import Gathering
from gtfs.swarm.session import Session
from gtfs.view.news import Count

log = logging.getLogger(__name__)

_EVERY_S: Final = 60.0  # between two looks if inotify tells nothing
_UNTOLD_S: Final = 5.0  # and where it cannot tell
_QUIET_S: Final = 0.5  # after something has happened
_GATHER_S: Final = 5.0  # at most, until it is looked at
_AT_ONCE: Final = 8  # repositories that are made ready before those are run
_FIRST_S: Final = 10.0  # before what failed is tried again; twice as long before each further time
_LONGEST_S: Final = 600.0


class CollectionPublisher:
    """``changed`` is awaited when other repositories are to run."""

    def __init__(
        self,
        settings: PublishSettings,
        session: Session,
        noticing: Noticing,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self.settings = settings
        self.scope = trio.CancelScope()
        self.ended = trio.Event()  # `run_task` has, and nothing of it writes any more
        self._site = PublishedSite(settings)
        self._noticing = noticing
        self._changed = changed
        self._lines: Lines = {}
        self._moves = Count()  # something has happened on disk
        self._news = Count()  # the list may have to say something else
        self._may_make_s = -math.inf  # when what could not be made ready is tried again
        self._trouble: dict[str, str] = {}  # of the directory, and of the list
        self._said = SaidOnce(log)
        owner = ListBell(self._site.places.layout, self._site.held_now, is_publisher=True)
        self._bell = Bell(owner, session, lambda: None, is_quiet=True)

    async def open(self) -> None:
        """See what is there; what has to be made ready first is left for `run_task`."""
        if await self._look():
            await trio.to_thread.run_sync(partial(self._site.take_in, self._site.new(), makes=False))

    def wanted(self) -> list[WantedRepository]:
        """The repositories that are published."""
        return self._site.wanted()

    def describe(self) -> dict[str, Any]:
        """As ``gtfs seed list --json`` has it."""
        found, stage = self._site.describe(), "trouble" if self._trouble else "running"
        return {**found, "stage": stage, "trouble": next(iter(self._trouble.values()), found["trouble"])}

    async def look(self) -> None:
        """Let the directory be looked at soon, and what failed be tried again."""
        self.hurry()

    def hurry(self) -> None:
        """The same."""
        self._may_make_s = -math.inf
        self._moves.grow()
        self._news.grow()

    async def run_task(self) -> None:
        """Publish it until it is cancelled."""
        try:
            with self.scope:
                async with open_flat_nursery() as nursery:
                    nursery.start_soon(self._bell.run_task)
                    nursery.start_soon(self._look_task)
                    nursery.start_soon(self._publish_task)
        finally:
            await self._bell.leave()
            self.ended.set()

    # -- what lies there ------------------------------------------------------------------------------------------

    async def _look_task(self) -> None:
        ear = Ear(self._moves.grow)
        listened: set[Path] = set()
        try:
            while True:
                seen = self._moves.number
                if await self._look():
                    await self._take_in()
                directories = await trio.to_thread.run_sync(self._site.directories)
                is_told = self._noticing.listen(ear, directories)
                is_new, listened = not directories <= listened, directories
                if is_told and is_new:
                    continue  # what happened there before it was listened to
                with trio.move_on_after(_EVERY_S if is_told else _UNTOLD_S):
                    await self._wait_moved(seen)
        finally:
            self._noticing.leave(ear)

    async def _wait_moved(self, seen: int) -> None:
        """Return when something has happened, and nothing more does for now."""
        seen = await self._moves.wait_beyond(seen)
        with trio.move_on_after(_GATHER_S):
            while True:
                with trio.move_on_after(_QUIET_S) as scope:
                    seen = await self._moves.wait_beyond(seen)
                if scope.cancelled_caught:
                    return

    async def _look(self) -> bool:
        """See what is other; False where the directory cannot be read."""
        what = f"collection {self.settings.name} is not published"
        try:
            found = await trio.to_thread.run_sync(self._site.look)
        except (GtfsError, OSError) as error:
            self._note(what, error)
            return False
        self._is_over(what)
        if found.is_other_list:
            self._bell.renew()
        if found.is_news:
            self._news.grow()
        if found.is_gone:
            await self._changed()
        return True

    async def _take_in(self) -> None:
        """Run what is new, a few at a time."""
        new = self._site.new()
        if trio.current_time() < self._may_make_s:
            new = [name for name in new if name not in self._site.troubles]
        for first in range(0, len(new), _AT_ONCE):
            some = new[first : first + _AT_ONCE]
            if await trio.to_thread.run_sync(partial(self._site.take_in, some, makes=True)):
                await self._changed()
        for name in new:
            what = f"{name} of collection {self.settings.name} is not published"
            if name in self._site.troubles:
                self._said.warn(what, self._site.troubles[name])
                self._may_make_s = trio.current_time() + _EVERY_S
            else:
                self._said.is_over(what)

    # -- the list -------------------------------------------------------------------------------------------------

    async def _publish_task(self) -> None:
        """Publish the list whenever it may have something else to say, and what is only progress once an hour."""
        seen, rest_s, rests = -1, math.inf, Backoff(_FIRST_S, _LONGEST_S)
        while True:
            with trio.move_on_after(rest_s):
                seen = await wait_quiet(self._news, seen, Gathering())
            if await self._publish():
                rest_s = PROGRESS_S
                rests.is_over()
            else:
                rest_s = rests.next_s()

    async def _publish(self) -> bool:
        what = f"the list of collection {self.settings.name} is not published, and tried again"
        try:
            done = await trio.to_thread.run_sync(self._publish_now)
        except (GtfsError, OSError) as error:
            self._note(what, error)
            return False
        self._is_over(what)
        if done.is_new:
            entries = counted(done.entries, "repository")
            events.info("collection %s: published version %d, %s", self.settings.name, done.version, entries)
        return True

    def _publish_now(self) -> PublishedCollection:
        return publish_collection(self.settings.directory, by_daemon=True, known=self._lines)

    def _note(self, what: str, error: GtfsError | OSError) -> None:
        self._trouble[what] = f"{what}: {error}"
        self._said.warn(what, error)

    def _is_over(self, what: str) -> None:
        self._trouble.pop(what, None)
        self._said.is_over(what)
