# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkouts that follow refs, brought to them whenever refs have moved, beside all else. Trio loop.

See `gtfs.state.worktrees`; files are written in a thread, and nobody waits for it but hooks, which may read them.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

import trio

from gtfs.errors import GtfsError
from gtfs.node.nursery import cancelled
from gtfs.node.saidonce import SaidOnce
from gtfs.state.control import Tell
from gtfs.state.mirrorsettings import answer_mirror
from gtfs.state.state import State
from gtfs.state.worktrees import WorktreeSeen, follow_worktrees
from gtfs.view.news import Count
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

_AGAIN_S: Final = 10.0  # after a failure; twice as long after each further one
_LONGEST_S: Final = 600.0
_NEVER_S: Final = float("inf")


class Worktrees:
    """One node's, and its settings as ``gtfs mirror`` gives them."""

    def __init__(self, state: State, writing: Writing, moved: Count, threads: trio.CapacityLimiter) -> None:
        self._state = state
        self._writing = writing
        self._moved = moved
        self._threads = threads
        self._one = trio.Lock()
        self._said = SaidOnce(log)
        self._seen: list[WorktreeSeen] = []

    async def run_task(self) -> None:
        """Look whenever refs have moved, for ever; a failure is tried again."""
        wait_s = _AGAIN_S
        while True:
            seen = self._moved.number
            await self.look()
            is_well = not any(each.trouble for each in self._seen)
            wait_s = _AGAIN_S if is_well else min(2 * wait_s, _LONGEST_S)
            dues = [max(each.due_s - time.time(), 1.0) for each in self._seen if each.due_s is not None]
            with trio.move_on_after(min([*dues, _NEVER_S if is_well else wait_s])):
                await self._moved.wait_woken(seen)

    async def look(self) -> None:
        """Bring each checkout to its ref, as far as that can be done now."""
        if self._state.read_only or self._state.config.is_clone():
            return
        if not self._seen and not self._state.config.get_all("worktree"):
            return
        async with self._one:
            if not self._state.config.get_all("worktree"):  # as of nearly all of a thousand: no thread for that
                self._seen = []
                return
            try:
                self._seen = await trio.to_thread.run_sync(
                    follow_worktrees, self._state, cancelled, limiter=self._threads
                )
            except GtfsError as error:
                log.warning("no checkout follows its ref: %s", error)
                return
            for each in self._seen:
                what = f"the checkout {each.worktree.path} stays as it is"
                if each.trouble is None:
                    self._said.is_over(what)
                elif each.at is None and each.wanted is None and self._state.held is None:
                    log.info("%s: %s", what, each.trouble)  # nothing has come yet
                else:
                    self._said.warn(what, each.trouble)

    async def set(self, request: dict[str, Any]) -> dict[str, Any]:
        """See `answer_mirror`."""
        return await self._writing.run(answer_mirror, self._state, request)

    async def asked(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """The same over the control socket, and what it means is done."""
        done = await self.set(request)
        await self.look()
        return done

    def describe(self) -> list[dict[str, Any]]:
        """As of the last look."""
        return [each.describe() for each in self._seen]
