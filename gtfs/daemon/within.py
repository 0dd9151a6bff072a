# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that somebody asks of a run, as a part of that run: it ends before the run does. Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

log = logging.getLogger(__name__)

T = TypeVar("T")


async def run_within(nursery: trio.Nursery, work: Callable[[], Awaitable[T]], *, ends: bool) -> list[T]:
    """What ``work`` gives as a task of ``nursery``, [] if the run has ended before; raises what it does.

    It goes on when who asked is cancelled, unless it ``ends`` with that, which is waited for.
    """
    done: list[T] = []
    failed: list[Exception] = []
    scope, ended, is_left = trio.CancelScope(), trio.Event(), False

    async def task() -> None:
        try:
            with scope:
                done.append(await work())
        except Exception as error:
            failed.append(error)
            if is_left:
                log.warning("what nobody waits for any more failed: %s", error, exc_info=error)
        finally:
            ended.set()

    nursery.start_soon(task)
    try:
        await ended.wait()
    finally:
        is_left = not ends
        if ends:
            scope.cancel()
            with trio.CancelScope(shield=True):
                await ended.wait()
    if failed:
        raise failed[0]
    return done
