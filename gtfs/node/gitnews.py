# SPDX-License-Identifier: GPL-3.0-or-later
"""What plain git does to the repository of a running node: refs are shown, what they reach is taken up. Trio loop."""

from __future__ import annotations

import contextlib
import logging
import math
import random
from collections.abc import Iterable
from typing import Any

import trio

from gtfs.errors import GtfsError
from gtfs.ids import ObjectId
from gtfs.ingest.takeup import TakenUp
from gtfs.node.noticing import Ear, Noticing
from gtfs.node.nursery import cancelled
from gtfs.node.saidonce import SaidOnce
from gtfs.repo.history import MISSING, OWN_REFS, Ref, read_refs
from gtfs.repo.watch import RefsWatch
from gtfs.repo.work import Work
from gtfs.state.control import Tell
from gtfs.state.divergence import Divergence
from gtfs.state.offer import describe_offer
from gtfs.state.state import State
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

_EVERY_S = 1.0  # how often refs that plain git moved are noticed
_LEAST_S = 0.5  # between two looks, however much is going on
_AGAIN_S = 30.0  # and they are read though nothing looks changed: not everybody writes them as git does
_LISTENING_S = 3600.0  # the same where the kernel tells of every change, give or take a fifth
_RETRY_S = 10.0  # after git could not be read


class GitNews:
    """Looks at the refs, and tells where they stand and that packs were made of what they reach.

    ``takes_up``: whether packs are to be made, by so many ``jobs`` (None: one for each core). Where ``noticing`` tells
    of changes nothing is looked at until there is one.
    """

    def __init__(
        self, state: State, standing: Divergence, writing: Writing, jobs: int | None, noticing: Noticing | None
    ) -> None:
        self._noticing = noticing
        self.takes_up = False
        self._state = state
        self._divergence = standing
        self._writing = writing
        self._jobs = jobs
        self._news = writing.news
        self._refs_watch = RefsWatch(state.repository)
        self._read_at = -math.inf  # when refs were read last, by the clock of trio
        self._one = trio.Lock()  # or what an older look found could be shown after what a newer one did

    async def begin(self, work: Work) -> None:
        """Take up what plain git brought since the last time, and from now on whenever it moves a ref."""
        self.takes_up = not self._state.config.is_clone()
        if not self.takes_up or self._state.read_only:
            with contextlib.suppress(GtfsError, OSError):  # it is told by `watch_task`, which tries again
                await self._show()
            return

        def take_up() -> list[Ref]:
            self._refs_watch.changed()
            found = self._state.refs().chosen
            self._state.take_up(work, refs=found)
            return found

        self._read_at = trio.current_time()
        self._news.refs = _shown(await self._writing.run(take_up))

    async def look(self) -> None:
        """Look now, as this node has moved refs, unless git cannot be read: another look follows in any case."""
        seen, refs = self._news.git.number, None
        with contextlib.suppress(GtfsError, OSError):
            refs = await self._show()
        await trio.to_thread.run_sync(self._divergence.try_look, refs if seen == self._news.git.number else None)

    async def watch_task(self) -> None:
        """Look for ever."""
        ear = Ear(self._news.git.wake)
        try:
            await self._watch(ear)
        finally:
            if self._noticing is not None:
                self._noticing.leave(ear)

    async def _watch(self, ear: Ear) -> None:
        watch = self._refs_watch
        said, what = SaidOnce(log), "what git has brought cannot be shown yet"
        seen = self._news.git.number
        again_s = _AGAIN_S
        while True:
            if seen != self._news.git.number:  # this node moved refs, or may now tell more of them
                seen = self._news.git.number
                self._divergence.is_old = True
            ear.has_heard = False
            is_told = self._listen(ear, watch)
            refs: list[Ref] | None = None  # read once for both looks; what moves meanwhile is seen by the next
            moved = True
            try:
                moved = await trio.to_thread.run_sync(watch.changed)
                if moved or trio.current_time() - self._read_at > again_s:
                    self._read_at = trio.current_time()
                    self._divergence.is_old = self._divergence.is_old or moved
                    refs = await self._show()
                if seen != self._news.git.number:
                    refs = None  # this node has moved some of them since they were read
                if self._divergence.is_due(trio.current_time()):
                    await trio.to_thread.run_sync(self._divergence.look, refs)
                said.is_over(what)
                rest_s = _LEAST_S
            except (GtfsError, OSError) as e:
                self._read_at = -math.inf
                said.warn(what, e)
                rest_s = _RETRY_S
            await trio.sleep(rest_s)
            # Until a change is old enough to be seen as one, and its directories are those that are watched, it is
            # looked for; then the kernel tells.
            is_quiet = is_told and not moved and not self._divergence.is_old
            again_s = _LISTENING_S if is_quiet else _AGAIN_S
            with trio.move_on_after(again_s * random.uniform(0.8, 1.2) if is_quiet else _EVERY_S):  # noqa: S311
                if not ear.has_heard:
                    await self._news.git.wait_woken(seen)

    def _listen(self, ear: Ear, watch: RefsWatch) -> bool:
        """Whether all directories in which a ref was at the last look are watched."""
        if self._noticing is None or not watch.directories:
            return False
        return self._noticing.listen(ear, watch.directories)

    async def _show(self) -> list[Ref]:
        """Read all refs, and show them."""
        async with self._one:
            changes = self._state.index.changes
            refs = await trio.to_thread.run_sync(read_refs, self._state.repository)
            await self._show_refs((await trio.to_thread.run_sync(self._state.refs, refs)).chosen, changes)
            return refs

    async def _show_refs(self, found: list[Ref], changes: int) -> None:
        """Show where refs are, and what they reach: so no link below ``.gtfs/refs`` dangles.

        ``changes``: of the index, when they were read.
        """
        refs = _shown(found)
        if refs == self._news.refs:
            return
        self._news.moved.grow()
        if self.takes_up:

            def take_up() -> tuple[TakenUp, list[Ref]]:
                # Here nobody else writes. What was withdrawn since the refs were read would be made again by them.
                now = found if self._state.index.changes == changes else self._state.refs().chosen
                return self._state.take_up(Work(self._jobs, cancelled), refs=now, retry=False), now

            taken, now = await self._writing.run(take_up)
            if taken.made:
                self._news.changed()
            refs = _shown(now)
        self._news.refs = refs

    async def asked_offer(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """In a clone: where the held catalogue's refs may stand, for the git that moves them. Raises `NotFollowing`."""
        return await self._writing.run(describe_offer, self._state)


def _shown(refs: Iterable[Ref]) -> dict[bytes, ObjectId]:
    """Where refs stand, without the node's own and those at what is lost."""
    shown = (ref for ref in refs if ref.name.startswith(b"refs/") and not ref.name.startswith(OWN_REFS))
    return {ref.name: ref.oid for ref in shown if ref.kind != MISSING}
