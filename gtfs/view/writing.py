# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way to write a node's repository and state: in a thread, one writer at a time, who tells what came of it.

Trio loop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar, TypeVarTuple, Unpack

import trio

from gtfs.view.news import News

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Writing:
    """One node's; handed to everybody who writes, and has something to tell in ``news``."""

    def __init__(self, news: News) -> None:
        self.news = news
        self._one = trio.CapacityLimiter(1)
        self._beside = trio.CapacityLimiter(1)

    @property
    def is_under_way(self) -> bool:
        """Whether somebody writes just now."""
        return self._one.borrowed_tokens > 0

    async def run(self, work: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """What ``work`` gives, from a thread, once it is its turn."""
        return await trio.to_thread.run_sync(work, *args, limiter=self._one)

    async def beside(self, work: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """The same of what takes long and writes nothing that others do: no writer waits for it, the next one does."""
        return await trio.to_thread.run_sync(work, *args, limiter=self._beside)

    def turn(self) -> AbstractAsyncContextManager[None]:
        """For a writer that has something to do on the loop in its turn, too: within, it calls `run` no more."""
        return self._one
