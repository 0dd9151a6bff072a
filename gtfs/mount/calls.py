# SPDX-License-Identifier: GPL-3.0-or-later
"""System calls on real files: brief ones on the loop itself while the disk answers at once, the others in threads.

Handing a call to a thread and its result back costs more than a tenth of a millisecond, which is ten times what an
open, a rename or a small write takes, and one file that rsync brings is eleven of them. But a disk that is busy may
hold any call for long, and no other request may wait for that: after one slow call all go to threads for a while.
Trio loop only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import trio

T = TypeVar("T")

BRIEF_BYTES: Final = 128 << 10  # what a brief call may read, write or hash
_SLOW_S: Final = 0.01
_WARY_S: Final = 5.0


class Calls:
    """The calls of one mount; at most ``threads`` of them at once in threads."""

    def __init__(self, threads: int) -> None:
        self._limiter = trio.CapacityLimiter(threads)
        self._wary_until = 0.0

    async def in_thread(self, call: Callable[..., T], *args: object) -> T:
        """Run a call that may take long."""
        return await trio.to_thread.run_sync(call, *args, limiter=self._limiter)

    async def briefly(self, call: Callable[..., T], *args: object) -> T:
        """Run a call that is short unless the disk is busy; often without any checkpoint."""
        start = time.monotonic()
        if start < self._wary_until:
            return await self.in_thread(call, *args)
        try:
            return call(*args)
        finally:
            end = time.monotonic()
            if end - start > _SLOW_S:
                self._wary_until = end + _WARY_S
