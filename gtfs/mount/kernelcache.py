# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel keeps of a mount and is told, unasked, to forget. Trio loop only."""

from __future__ import annotations

import errno
import logging
from typing import Final

import pyfuse3
import trio

from gtfs.mount import inodes

log = logging.getLogger(__name__)

AGAIN_S: Final = (1.0, 10.0)  # how long after each other
_AT_ONCE: Final = 1000  # packs, each of which costs a system call


class KernelCache:
    """Of one mount; before `begin` there is no session, and pyfuse3 would notify through a null pointer.

    What the kernel knows is not seen from here: it takes an answer in when whoever asked has a processor again, and
    only then does it know of the pack in it. Told before that to forget it, it would keep what was answered for a day
    (`attributes.FOREVER_S`). So what it did not know it is told again.
    """

    def __init__(self) -> None:
        self._is_served = False
        self._unknown: set[int] = set()
        self._more = trio.Event()

    def begin(self) -> None:
        """The kernel's first request came."""
        self._is_served = True

    def end(self) -> None:
        """There will be no session any more."""
        self._is_served = False

    def forget(self, row: int) -> None:
        """Let the kernel ask for the attributes of the pack in this row of the index again."""
        if not self._tell(row):
            self._unknown.add(row)
            self._more.set()

    async def tell_again_task(self) -> None:
        """Tell it again of what it did not know, as long as the mount lives."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            rows, self._unknown = self._unknown, set()
            for pause_s in AGAIN_S:
                await trio.sleep(pause_s)
                for i, row in enumerate(sorted(rows), 1):
                    if self._tell(row):
                        rows.remove(row)
                    if i % _AT_ONCE == 0:
                        await trio.lowlevel.checkpoint()

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
