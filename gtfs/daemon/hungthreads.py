# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads of all nodes that hang, as on a disk that does not answer: others come in their place. Trio loop.

Nodes work in trio's threads, of which there are 40 at a time, and torrents in four of the session: without this, one
dead mount with a few repositories would have them all.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from gtfs.counted import counted

log = logging.getLogger(__name__)

HANGS_S: Final = 10.0  # in which none of all has done its work, and somebody waits: they hang
EVERY_S: Final = 2.0
MOST: Final = 1000  # threads in all


async def replace_hung_task(threads: trio.CapacityLimiter) -> None:
    """See to it for ever. Threads that are merely slow are left to be so few, as more of them would be no faster."""
    usual = threads.total_tokens
    since_s: dict[object, float] = {}
    hung: set[object] = set()
    while True:
        await trio.sleep(EVERY_S)
        now_s, found = trio.current_time(), threads.statistics()
        since_s = {thread: since_s.get(thread, now_s) for thread in found.borrowers}
        hung.intersection_update(since_s)
        if found.tasks_waiting and all(now_s >= began_s + HANGS_S for began_s in since_s.values()):
            if len(since_s) > len(hung):
                log.warning(
                    "%s hung, as if a disk did not answer; others take their place", counted(len(since_s), "thread")
                )
            hung.update(since_s)
        threads.total_tokens = min(usual + len(hung), MOST)
