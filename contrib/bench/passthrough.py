# SPDX-License-Identifier: GPL-3.0-or-later
"""A read-only pass-through file system of one flat directory: what pyfuse3 and trio cost by themselves.

    python passthrough.py DIRECTORY MOUNTPOINT

After pyfuse3's example ``passthroughfs.py``, with every system call on the loop and nothing between; attributes of
real files, listings in the order of ``scandir``. Runs in the foreground; unmount it with fusermount3 -u.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import pyfuse3
import trio


class Passthrough(pyfuse3.Operations):  # type: ignore[misc]
    """The root is inode 1; a file's is its own, plus one million."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self._names: dict[int, bytes] = {}
        self._listings: dict[int, list[bytes]] = {}
        self._next = 1

    def _attributes(self, name: bytes | None) -> pyfuse3.EntryAttributes:
        try:
            st = os.stat(self._fd) if name is None else os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno) from None
        entry = pyfuse3.EntryAttributes()
        for attribute in (
            "st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks",
            "st_atime_ns", "st_mtime_ns", "st_ctime_ns",
        ):  # fmt: skip
            setattr(entry, attribute, getattr(st, attribute))
        entry.st_ino = 1 if name is None else st.st_ino + 1_000_000
        entry.entry_timeout = entry.attr_timeout = 0 if name is None else 86400
        if name is not None:
            self._names[entry.st_ino] = name
        return entry

    def _name(self, inode: int) -> bytes | None:
        return None if inode == 1 else self._names[inode]

    async def lookup(self, parent: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._attributes(name)

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._attributes(self._name(inode))

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        raise pyfuse3.FUSEError(errno.EOPNOTSUPP)

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        self._next += 1
        self._listings[self._next] = [os.fsencode(name) for name in os.listdir(self._fd)]
        return self._next

    async def readdir(self, fh: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        names = self._listings[fh]
        for i in range(start, len(names)):
            if not pyfuse3.readdir_reply(token, names[i], self._attributes(names[i]), i + 1):
                return

    async def releasedir(self, fh: int) -> None:
        del self._listings[fh]

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        name = self._name(inode)
        assert name is not None
        return pyfuse3.FileInfo(fh=os.open(name, os.O_RDONLY, dir_fd=self._fd), keep_cache=True)

    async def read(self, fh: int, offset: int, size: int) -> bytes:
        return os.pread(fh, size, offset)

    async def flush(self, fh: int) -> None:
        pass

    async def release(self, fh: int) -> None:
        os.close(fh)

    async def forget(self, inodes: Sequence[tuple[int, int]]) -> None:
        pass


def main() -> None:
    directory, mountpoint = sys.argv[1:]
    pyfuse3.init(Passthrough(directory), mountpoint, {"fsname=passthrough", "ro"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
