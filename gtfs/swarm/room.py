# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the disk for what is about to be written, before libtorrent writes it. Blocking: called in threads.

libtorrent 2.1 does not survive a full disk well (facts.md): so it should never be the one that finds it full.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

KEEP_SIZE, PUNCH_HOLE = 1, 2  # linux/falloc.h
# Not every file system can; on such a one it is seen only whether there was room at this moment.
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class NoRoom(OSError):
    """A full disk; so much more room is wanted."""

    def __init__(self, path: Path, lacking_bytes: int) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        self.lacking_bytes = lacking_bytes


def reserve(path: Path, start: int, end: int) -> None:
    """Have blocks for these bytes of a file, which is made if need be, and keeps its size and content.

    Raises OSError, and `NoRoom` before anything is taken of a disk that has too little.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        lacking_bytes = end - start - os.fstat(fd).st_blocks * 512
        if lacking_bytes > free_bytes(path.parent):
            raise NoRoom(path, lacking_bytes)
        code = allocate(fd, KEEP_SIZE, start, end) if start < end else 0
        if code and code not in _CANNOT:
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(fd)


def allocate(fd: int, mode: int, start: int, end: int) -> int:
    """fallocate(2), again after a signal; gives its errno, 0 for success."""
    while _libc.fallocate(fd, mode, start, end - start):
        code = ctypes.get_errno()
        if code != errno.EINTR:
            return code
    return 0


def free_bytes(directory: Path) -> int:
    """How much may be written there; raises OSError."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
