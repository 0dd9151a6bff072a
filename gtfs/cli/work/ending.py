# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a process with nodes, where one of them hangs, too. Trio loop."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from gtfs.errors import Blame

log = logging.getLogger(__name__)

END_S: Final = 90.0  # for an end that goes well; with `SAVE_S` less than TimeoutStopSec= of the units
SAVE_S: Final = 15.0
_SHOWN: Final = 8


async def see_to_end(
    ended: trio.Event,
    hanging: Callable[[], list[str]],
    save: Callable[[], Awaitable[None]],
    leave: Callable[[int], object] = os._exit,
) -> None:
    """Return once ``ended``; a thread that hangs cannot be ended but with the process: then that is left.

    ``hanging`` names what has not ended by then; ``save`` keeps what others might lose.
    """
    with trio.move_on_after(END_S):
        await ended.wait()
        return
    names = hanging() or ["the process itself"]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    what = ", ".join(names[:_SHOWN]) + more
    log.error("%s: not ended after %g s, as if a disk does not answer; the process ends all the same", what, END_S)
    saved = trio.Event()

    async def save_task() -> None:
        try:
            await save()
        except Exception:  # the end it is all the same
            log.exception("what the swarm knows was not kept")
        finally:
            saved.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(save_task)
        with trio.move_on_after(SAVE_S):
            await saved.wait()
        logging.shutdown()
        leave(Blame.SYSTEM.exit_code)
        nursery.cancel_scope.cancel()
