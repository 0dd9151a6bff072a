# SPDX-License-Identifier: GPL-3.0-or-later
"""One collection of a running daemon: its source is asked again and again, and what it says is acted on. Trio loop.

What to make of a document, `gtfs.collection.followed` decides; its disk work is in threads.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from gtfs.backoff import Backoff
from gtfs.collection.followed import FollowedCollection, FollowSettings, NotFollowed
from gtfs.collection.wanted import WantedRepository
from gtfs.daemon.listbell import ListBell
from gtfs.daemon.roster import Roster
from gtfs.daemon.within import run_within
from gtfs.errors import GtfsError
from gtfs.feed import Feed, parse_feed
from gtfs.node.bell import Bell
from gtfs.node.nursery import open_flat_nursery
from gtfs.node.saidonce import SaidOnce
from gtfs.node.sparing import ListedVersion
from gtfs.swarm.feeds import FeedPoller

log = logging.getLogger(__name__)

_OF_LATE = 2  # intervals, in which a source that answers has been asked
_FIRST_S = 10.0  # before what could not be read is tried again; twice as long before each further time
_LONGEST_S = 3600.0  # between two tries, or two looks at what time has made due, whatever the clock does meanwhile


class CollectionFollower:
    """``changed`` is awaited when other repositories may be wanted."""

    def __init__(self, root: Path, settings: FollowSettings, roster: Roster, changed: Callable[[], Awaitable[None]]):
        self.settings = settings
        self._root = root
        self._roster = roster
        self._bell: Bell | None = None
        self._changed = changed
        self._collection: FollowedCollection | None = None
        self._poller: FeedPoller | None = None
        self._one = trio.Lock()
        self._said = SaidOnce(log)
        self._is_to_act = False  # on what was found: whoever found it may have hung up since
        self._trouble: str | None = None  # why there is no collection
        self._again = trio.Event()  # somebody says that there may be one now
        self.scope = trio.CancelScope()
        self.ended = trio.Event()  # `run_task` has, and nothing of it writes any more
        self._nursery: trio.Nursery | None = None  # of what runs with it

    async def open(self) -> None:
        """Read what is held; a state that cannot be read is named, and no repository of it runs until it can."""
        what = f"collection {self.settings.name} is not followed"
        try:
            collection = await trio.to_thread.run_sync(FollowedCollection, self._root, self.settings)
            feed = parse_feed(self.settings.source)
            own = await trio.to_thread.run_sync(self._roster.read_options, tuple(self.settings.options))
        except (GtfsError, OSError) as e:
            self._trouble = str(e)
            self._said.warn(what, e)
        else:
            self._said.is_over(what)
            self._trouble = None
            self._collection = collection
            client, poll_s = self._roster.shared.client, own.node.poll_s
            self._poller = FeedPoller([feed], self._take, client, interval_s=poll_s, has_freshness=False)
            owner = ListBell(collection.layout, collection.held, is_publisher=False)
            self._bell = Bell(owner, self._roster.session, self._poller.hurry, is_quiet=True)

    def wanted(self) -> list[WantedRepository]:
        """Its mirrors."""
        return [] if self._collection is None else self._collection.wanted()

    def describe(self) -> dict[str, Any]:
        """As ``gtfs seed list --json`` has it."""
        out: dict[str, Any] = {} if self._collection is None else self._collection.describe()
        reports = () if self._poller is None else self._poller.reports()
        errors = [self._trouble, *(report.error for report in reports)]
        errors += [] if self._collection is None else [self._collection.trouble()]
        trouble = next((error for error in errors if error is not None), None)
        stage = "trouble" if self._collection is None else "running"
        return {
            **out, "name": self.settings.name, "source": self.settings.source, "stage": stage, "trouble": trouble
        }  # fmt: skip

    def listed(self, directory: Path) -> ListedVersion | None:
        """What the list says of a mirror's repository; None unless it counts, and its source answered of late."""
        if self._collection is None or self._poller is None:
            return None
        entry, (report,) = self._collection.counting.get(directory), self._poller.reports()
        age_s = math.inf if report.answered_s is None else time.time() - report.answered_s
        if entry is None or report.error is not None or not 0 <= age_s <= _OF_LATE * self._poller.interval_s:
            return None
        return ListedVersion(entry.repository, entry.version)

    async def ask(self) -> None:
        """Ask the source now."""
        if self._poller is not None:
            await self._poller.poll_once()

    async def rewind(self, version: int, *, dry_run: bool) -> dict[str, Any]:
        """See `FollowedCollection.rewind`, which raises. Raises `NotFollowed` where nothing can be read."""
        done: list[dict[str, Any]] = []
        if self._nursery is not None:
            work = partial(self._rewind, version, dry_run=dry_run)
            done = await run_within(self._nursery, work, ends=False)
        if not done:
            why = self._trouble or "its disk has not answered yet, or it has just ended"
            raise NotFollowed(f"collection {self.settings.name} is not followed: {why}")
        return done[0]

    async def _rewind(self, version: int, *, dry_run: bool) -> dict[str, Any]:
        assert self._collection is not None
        work = partial(self._collection.rewind, version, dry_run=dry_run)
        async with self._one:
            done: dict[str, Any] = await trio.to_thread.run_sync(work)
            self._is_to_act |= not dry_run
        if self._is_to_act:
            if self._bell is not None:
                self._bell.renew()
            await self._act()
        return done

    def hurry(self) -> None:
        """Let the source be asked soon."""
        self._again.set()
        if self._poller is not None:
            self._poller.hurry()

    async def run_task(self) -> None:
        """Follow it until it is cancelled."""
        try:
            with self.scope:
                await self._wait_opened()
                assert self._poller is not None and self._bell is not None
                async with open_flat_nursery() as self._nursery:
                    self._nursery.start_soon(self._bell.run_task)
                    self._nursery.start_soon(self._poller.poll_task)
                    self._nursery.start_soon(self._look_task)
        finally:
            self._nursery = None
            if self._bell is not None:
                await self._bell.leave()
            self.ended.set()

    async def _wait_opened(self) -> None:
        """Read it again until it can be: a disk may come late, and its mirrors are to run then."""
        rests = Backoff(_FIRST_S, _LONGEST_S)
        while self._collection is None:
            self._again = trio.Event()
            with trio.move_on_after(rests.next_s()):
                await self._again.wait()
            await self.open()

    async def _take(self, feed: Feed, document: bytes) -> None:
        assert self._collection is not None
        try:
            async with self._one:
                is_news = await trio.to_thread.run_sync(self._collection.take, document)
        except GtfsError as e:
            self._said.warn(f"collection {self.settings.name} stays as it was", e)
            raise
        self._said.is_over(f"collection {self.settings.name} stays as it was")
        if is_news and self._bell is not None:
            self._bell.renew()
        self._is_to_act |= is_news
        if self._is_to_act:
            await self._act()

    async def _look_task(self) -> None:
        assert self._collection is not None
        await self._act()  # a daemon that was killed may have left something to be put away
        while True:
            due = self._collection.next_due()
            wait_s = _LONGEST_S if due is None else min(max(due - time.time(), 1.0), _LONGEST_S)
            await trio.sleep(wait_s)
            await self._look()

    async def look(self) -> None:
        """See what time, or a person, has made due, if it runs."""
        if self._nursery is not None:
            await run_within(self._nursery, self._look, ends=False)

    async def _look(self) -> None:
        assert self._collection is not None
        what = f"collection {self.settings.name} was not looked at"
        try:
            async with self._one:
                is_other = await trio.to_thread.run_sync(self._collection.look)
        except (GtfsError, OSError) as e:
            self._said.warn(what, e)
            return
        self._said.is_over(what)
        self._is_to_act |= is_other
        if self._is_to_act or self._collection.gone():
            await self._act()

    async def _act(self) -> None:
        """Start and end nodes; then, as no node has them any more, put away the mirrors that are gone."""
        assert self._collection is not None
        self._is_to_act = False
        try:
            await self._changed()
        except BaseException:
            self._is_to_act = True
            raise
        for mirror in self._collection.gone():
            what = f"the mirror {mirror.name}, which left collection {self.settings.name}, stays in {mirror.directory}"
            try:
                async with self._one:
                    if mirror not in self._collection.gone():  # another look has put it away, or it is listed again
                        continue
                    place = await trio.to_thread.run_sync(self._collection.put_away, mirror)
            except (GtfsError, OSError) as e:
                self._said.warn(what, e)
            else:
                where = "was deleted" if place is None else f"lies in {place}"
                log.warning("the mirror %s left collection %s, and %s", mirror.name, self.settings.name, where)
