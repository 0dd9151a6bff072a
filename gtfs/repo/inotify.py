# SPDX-License-Identifier: GPL-3.0-or-later
"""inotify(7) by libc: told by the kernel that a name in a directory came, went or was written. Any thread; no waiting.

What others do to the files of a network file system the kernel does not know: `is_told_of` says where it does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import Final

_HEAD: Final = struct.Struct("iIII")
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ONLYDIR = 0x400, 0x800, 0x01000000
_MASK: Final = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
OVERFLOW: Final = 0x4000
IGNORED: Final = 0x8000  # the watch is gone
_READ_BYTES: Final = 64 << 10
# Local ones, by proc(5); others' writes come from elsewhere, or nobody knows.
_LOCAL: Final = frozenset(
    "ext2 ext3 ext4 xfs btrfs f2fs tmpfs overlay zfs jfs reiserfs bcachefs ramfs nilfs2".split()  # noqa: SIM905
)


class Inotify:
    """One instance; raises OSError where there is none left, as the kernel allows each user some 128."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, directory: Path) -> int:
        """Watch a directory; its number, the same again for the same directory. Raises OSError."""
        return self._checked(self._libc.inotify_add_watch(self.fd, os.fsencode(directory), ctypes.c_uint32(_MASK)))

    def remove(self, number: int) -> None:
        """Watch it no more; harmless when it is gone."""
        self._libc.inotify_rm_watch(self.fd, number)

    def read(self) -> list[tuple[int, int]]:
        """What happened since the last time: the number of each directory, and what; nothing when nothing did."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return []
        found, at = [], 0
        while at < len(data):
            number, mask, _, length = _HEAD.unpack_from(data, at)
            found.append((number, mask))
            at += _HEAD.size + length
        return found

    def close(self) -> None:
        """All watches go with it."""
        os.close(self.fd)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno() or errno.EIO
            raise OSError(number, os.strerror(number))
        return result


def local_mounts() -> dict[str, bool]:
    """Each mount point, and whether the kernel sees all writes there."""
    found = {}
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            left, _, right = line.partition(b" - ")
            point = left.split(b" ")[4].decode("unicode_escape").encode("latin-1")  # spaces are \040
            found[os.fsdecode(point)] = right.split(b" ", 1)[0].decode() in _LOCAL
    return found


def is_told_of(directory: Path, mounts: dict[str, bool]) -> bool:
    """Whether the kernel tells of everything that happens to a directory, by its mount point."""
    path = os.path.realpath(directory)
    while path not in mounts and path != "/":
        path = os.path.dirname(path)  # noqa: PTH120  a path for each repository, some levels deep
    return mounts.get(path, False)
