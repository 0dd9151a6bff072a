# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that somebody asks of a run, as a part of that run: it ends before the run does. Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

log = logging.getLogger(__name__)

T = TypeVar("T")


async def run_within(nursery: trio.Nursery, work: Callable[[], Awaitable[T]], *, waits: bool) -> list[T]:
    """What ``work`` gives as a task of ``nursery``, [] if the run has ended before; raises what it does.

    Who is cancelled has it cancelled, and ``waits`` until it has ended, unless a disk may keep it from that.
    """
    done: list[T] = []
    failed: list[Exception] = []
    scope, ended, is_left = trio.CancelScope(), trio.Event(), False

    async def task() -> None:
        try:
            with scope:
                done.append(await work())
        except Exception as error:  # noqa: BLE001  (it is for who asked)
            failed.append(error)
            if is_left:
                log.warning("what nobody waits for any more failed: %s", error)
        finally:
            ended.set()

    nursery.start_soon(task)
    try:
        await ended.wait()
    finally:
        scope.cancel()
        is_left = not waits
        with trio.CancelScope(shield=waits):
            await ended.wait()
    if failed:
        raise failed[0]
    return done
