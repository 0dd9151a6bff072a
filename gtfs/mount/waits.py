# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for what may never come: each has a deadline, and all of them end at once when the mount goes away.

A cancelled request is answered with an errno rather than dropped: a dropped one leaves its caller in uninterruptible
sleep until the connection to the kernel is closed. Trio loop only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from gtfs.errors import GtfsError
from gtfs.mount.tree import ReadTimedOut

T = TypeVar("T")


class MountClosing(GtfsError):
    """The mount is going away and waits for nothing any more (ESHUTDOWN)."""

    exit_code = 7

    def __init__(self) -> None:
        super().__init__("the file system is being unmounted")


class Waits:
    """The waits of one mount."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._scopes: set[trio.CancelScope] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """End every wait, now and from now on, with `MountClosing`."""
        self._closed = True
        for scope in self._scopes:
            scope.cancel()

    async def run(self, fetch: Callable[[], Awaitable[T]]) -> T:
        """What ``fetch`` returns; raises `ReadTimedOut` at the deadline and `MountClosing` when the mount goes away."""
        if self._closed:
            raise MountClosing
        with trio.CancelScope(deadline=trio.current_time() + self._timeout_s) as scope:
            self._scopes.add(scope)
            try:
                return await fetch()
            finally:
                self._scopes.discard(scope)
        if self._closed:
            raise MountClosing
        raise ReadTimedOut(f"no peer delivered the data within {self._timeout_s:g} s (read_timeout)")
