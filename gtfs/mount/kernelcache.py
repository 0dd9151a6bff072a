# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel keeps of a mount and is told, unasked, to forget. Trio loop only."""

from __future__ import annotations

import errno
import logging

import pyfuse3

from gtfs.mount import inodes

log = logging.getLogger(__name__)


class KernelCache:
    """Of one mount; before `begin` there is no session, and pyfuse3 would notify through a null pointer."""

    def __init__(self) -> None:
        self._is_served = False

    def begin(self) -> None:
        """The kernel's first request came."""
        self._is_served = True

    def end(self) -> None:
        """There will be no session any more."""
        self._is_served = False

    def forget(self, row: int) -> None:
        """Let the kernel ask for the attributes of the pack in this row of the index again."""
        if not self._is_served:
            return
        try:
            pyfuse3.invalidate_inode(inodes.pack_inode(row), attr_only=True)
        except OSError as error:
            if error.errno != errno.ENOENT:  # the kernel never heard of it
                log.debug("cannot invalidate the pack in row %d: %s", row, error)
