# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at where a daemon's repositories lie, in threads of their own: a disk may not answer. Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

import trio

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S: Final = 60.0  # at all of them, a thousand or more
_AT_ONCE: Final = 4  # those that hang among them


class Looks:
    """A roster's."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(_AT_ONCE)

    async def look(self, work: Callable[[], T], otherwise: T) -> T:
        """What ``work`` gives, which changes nothing; ``otherwise`` if it does not return for a minute."""
        with trio.move_on_after(LOOK_S):
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)
        log.warning("where repositories lie was not to be seen within %g s, as if a disk does not answer", LOOK_S)
        return otherwise
