# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel keeps of a mount and is told, unasked, to forget. Trio loop only."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Iterable
from typing import Final

import pyfuse3
import trio

from gtfs.mount import inodes

log = logging.getLogger(__name__)

AGAIN_S: Final = (1.0, 10.0)  # after the time before
_AT_ONCE: Final = 1000  # packs, each of which costs a system call, before others have their turn


class KernelCache:
    """Of one mount; before `begin` there is no session, and pyfuse3 would notify through a null pointer.

    What the kernel knows is not seen from here: it takes an answer in when whoever asked has a processor again, and
    only then does it know of the pack in it. Told before that to forget it, it would keep what was answered for a day
    (`attributes.FOREVER_S`). So what it did not know it is told again.
    """

    def __init__(self) -> None:
        self._is_served = False
        # (when, row) of what it is to be told for the second, the third... time
        self._later = [trio.open_memory_channel[tuple[float, int]](math.inf) for _ in AGAIN_S]

    def begin(self) -> None:
        """The kernel's first request came."""
        self._is_served = True

    def end(self) -> None:
        """There will be no session any more."""
        self._is_served = False

    def forget(self, row: int) -> None:
        """Let the kernel ask for the attributes of the pack in this row of the index again."""
        self._forget(row, 0)

    async def forget_all(self, rows: Iterable[int]) -> None:
        """The same of perhaps very many."""
        for i, row in enumerate(rows, 1):
            self._forget(row, 0)
            if i % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    async def tell_again_task(self) -> None:
        """Tell it again of what it did not know, as long as the mount lives."""
        async with trio.open_nursery() as nursery:
            for before in range(len(AGAIN_S)):
                nursery.start_soon(self._tell_again_task, before)

    async def _tell_again_task(self, before: int) -> None:
        async for at, row in self._later[before][1]:
            await trio.sleep_until(at)
            self._forget(row, before + 1)

    def _forget(self, row: int, before: int) -> None:
        """``before``: how often it was told already."""
        if not self._tell(row) and before < len(AGAIN_S):
            self._later[before][0].send_nowait((trio.current_time() + AGAIN_S[before], row))

    def _tell(self, row: int) -> bool:
        """Whether the kernel knew of the pack, or nobody asked it."""
        if not self._is_served:
            return True
        try:
            pyfuse3.invalidate_inode(inodes.pack_inode(row), attr_only=True)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            log.debug("cannot invalidate the pack in row %d: %s", row, error)
        return True
