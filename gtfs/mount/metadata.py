# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests beside contents and names: extended attributes, statfs, and what can never be made here.

The base of `operations.Operations`. Trio loop only; nothing here waits.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final, NoReturn

import pyfuse3

from gtfs.mount import inodes
from gtfs.mount.errnos import answering
from gtfs.mount.incoming import IncomingFile
from gtfs.mount.names import XATTR_PREFIX, Names, fail
from gtfs.mount.options import MountOptions
from gtfs.mount.tree import PackSource

_BLOCK: Final = 4096  # f_bsize
_FREE_NODES: Final = 1 << 20  # files that may still be created: no such limit here, some programs want one
_USER: Final = b"user."
_XATTR_BYTES: Final = 64 << 10  # names and values of one file, as on ext4


class MetadataOperations(pyfuse3.Operations):  # type: ignore[misc]  # pyfuse3 is compiled and typed as Any
    """See the module; what is set up here is everything that its requests need."""

    def __init__(self, source: PackSource, names: Names, options: MountOptions) -> None:
        super().__init__()
        self._source = source
        self._names = names
        self._options = options

    async def _refuse(self, parent: int, ctx: pyfuse3.RequestContext) -> NoReturn:
        """There are only files, each with one name, and .gtfs stays."""
        self._names.need_writer(ctx.uid)
        fail(errno.EPERM)

    @answering
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext) -> NoReturn:
        await self._refuse(parent_inode, ctx)

    @answering
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> NoReturn:
        await self._refuse(parent_inode, ctx)

    @answering
    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext) -> NoReturn:
        await self._refuse(parent_inode, ctx)

    @answering
    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext) -> NoReturn:
        await self._refuse(new_parent_inode, ctx)

    @answering
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> NoReturn:
        await self._refuse(parent_inode, ctx)

    # -- extended attributes --------------------------------------------------------------------------------------

    def _incoming_file(self, inode: int) -> IncomingFile | None:
        node = None if inode == inodes.ROOT else self._names.node(inode)
        return node if isinstance(node, IncomingFile) else None

    @answering
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """Never ENOSYS: the kernel would not ask again, for any file. It asks security.capability for each write.

        What is not in the namespace "user" there cannot be on any file here. Told so, ls -l and cp ask once for a
        file system rather than for each file.
        """
        if not name.startswith(_USER):
            fail(errno.EOPNOTSUPP)
        found = self._names.xattrs(inode).get(name)
        if found is None:
            fail(pyfuse3.ENOATTR)
        return found

    @answering
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        """The names of what getxattr knows."""
        return sorted(self._names.xattrs(inode))

    def _changed_xattrs(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> dict[bytes, bytes] | None:
        """Where the attributes are that a writer may change.

        None for a change to no effect: ours are derived, and a pack has no others, but cp -a and rsync -X would fail
        over a refusal. Of a file that is being written they are kept until it is a pack or the mount ends.
        """
        self._names.need_writer(ctx.uid)
        if not name.startswith(_USER):
            fail(errno.EOPNOTSUPP)
        file = self._incoming_file(inode)
        return None if file is None or name.startswith(XATTR_PREFIX) else file.xattrs

    @answering
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Of a file that is being written; see `_changed_xattrs`."""
        kept = self._changed_xattrs(inode, name, ctx)
        if kept is None:
            return
        used = sum(len(n) + len(v) for n, v in kept.items() if n != name)
        if used + len(name) + len(value) > _XATTR_BYTES:
            fail(errno.ENOSPC)
        kept[name] = value

    @answering
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Of a file that is being written; see `_changed_xattrs`."""
        kept = self._changed_xattrs(inode, name, ctx)
        if kept is not None and kept.pop(name, None) is None:
            fail(pyfuse3.ENOATTR)

    @answering
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Of the store behind the mount."""
        found = self._source.statistics()
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = _BLOCK
        data.f_blocks = -(-found.total_bytes // _BLOCK)
        data.f_bfree = data.f_bavail = found.free_bytes // _BLOCK
        data.f_files = found.packs + _FREE_NODES
        data.f_ffree = data.f_favail = _FREE_NODES
        data.f_namemax = 255
        return data
