# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's requests, each handed to the part whose noun it is about (design.md §9); `mount.Mount` wires them.

Nothing is decided here. Trio loop only. Reads may be had by whoever the kernel lets in; writes by the mounting user and
root. Permission bits are not left to the kernel (``default_permissions``), because writing to a verified pack is EPERM
for its owner too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import pyfuse3

from gtfs.mount.changes import Changes
from gtfs.mount.errnos import answering
from gtfs.mount.firstlook import FirstLook
from gtfs.mount.handletable import HandleTable
from gtfs.mount.incoming import IncomingFiles
from gtfs.mount.kernelcache import KernelCache
from gtfs.mount.listing import OpenDirectories
from gtfs.mount.names import Names
from gtfs.mount.space import space_of
from gtfs.mount.tree import PackSource
from gtfs.mount.xattrs import ExtendedAttributes


class Operations(pyfuse3.Operations):  # type: ignore[misc]  # pyfuse3 is compiled and typed as Any
    """The requests of one mount."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(
        self,
        source: PackSource,
        files: IncomingFiles,
        names: Names,
        first_look: FirstLook,
        handles: HandleTable,
        directories: OpenDirectories,
        changes: Changes,
        kernel: KernelCache,
    ) -> None:
        super().__init__()
        self._source = source
        self._files = files
        self._names = names
        self._first_look = first_look
        self._handles = handles
        self._directories = directories
        self._changes = changes
        self._xattrs = ExtendedAttributes(source, names)
        self._kernel = kernel

    def init(self) -> None:
        """The kernel's first request."""
        self._kernel.begin()

    # -- looking ---------------------------------------------------------------------------------------------------

    @answering
    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Negative answers are not cached: a pack may be published at any moment."""
        await self._first_look.for_name(parent_inode, name, ctx)
        return self._names.look_up(parent_inode, name)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Only what has a passing number is remembered for the kernel at all."""
        for inode, lookups in inode_list:
            self._names.inodes.forget(inode, lookups)

    @answering
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Exact at once, without the network."""
        return self._names.of_inode(inode)

    @answering
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """Only .gtfs has links."""
        return self._names.link_target(inode)

    @answering
    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        """What access(2) promises is what the operations do."""
        return self._names.may_access(inode, mode, ctx.uid)

    @answering
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Of the store behind the mount."""
        return space_of(self._source.statistics())

    # -- directories ----------------------------------------------------------------------------------------------

    @answering
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """.gtfs itself is not listed in the root."""
        await self._first_look.for_directory(inode, ctx)
        return self._directories.open(inode, ctx)

    @answering
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Names with attributes; of a new mirror's as the index comes to know them."""
        while not self._directories.read(fh, start_id, token):
            if not await self._first_look.for_more(*self._directories.end(fh)):
                break

    @answering
    async def releasedir(self, fh: int) -> None:
        """Forget the listing."""
        self._directories.release(fh)

    @answering
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Make the names of incoming files durable."""
        await self._files.disk.sync_directory()

    # -- open files -----------------------------------------------------------------------------------------------

    @answering
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Packs and .gtfs for reading, incoming files for both."""
        return await self._handles.open(inode, flags, ctx)

    @answering
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """A new incoming file of any name."""
        return await self._handles.create(parent_inode, name, mode, flags, ctx)

    @answering
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Bytes, fetched and verified first where they are not here."""
        return await self._handles.get(fh).read(off, size)

    @answering
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Into an incoming file."""
        return await self._handles.get(fh).write(off, buf)

    @answering
    async def flush(self, fh: int) -> None:
        """Comes for each closed descriptor; its errors are what close() returns."""
        await self._handles.get(fh).flush()

    @answering
    async def release(self, fh: int) -> None:
        """Comes once; nobody hears its errors."""
        await self._handles.release(fh)

    @answering
    async def fsync(self, fh: int, datasync: bool) -> None:
        """Real for what is written; packs are durable since they are verified."""
        await self._handles.get(fh).sync(data_only=datasync)

    # -- changes --------------------------------------------------------------------------------------------------

    @answering
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Size, times and mode of incoming files."""
        handle = None if fh is None else self._handles.get(fh)
        return await self._changes.set_attributes(inode, attr, fields, handle, ctx.uid)

    @answering
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """One's own unfinished file; a pack refuses."""
        await self._changes.unlink(parent_inode, name, ctx.uid)

    @answering
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        """Of incoming files; to ``<oid>.pack`` it is the same check as a close."""
        await self._changes.rename(parent_inode_old, name_old, parent_inode_new, name_new, flags, ctx.uid)

    # There are only files, each with one name, and .gtfs stays.

    @answering
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext) -> NoReturn:
        self._changes.refuse(ctx.uid)

    @answering
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> NoReturn:
        self._changes.refuse(ctx.uid)

    @answering
    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext) -> NoReturn:
        self._changes.refuse(ctx.uid)

    @answering
    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext) -> NoReturn:
        self._changes.refuse(ctx.uid)

    @answering
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> NoReturn:
        self._changes.refuse(ctx.uid)

    # -- extended attributes --------------------------------------------------------------------------------------

    @answering
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """Never ENOSYS: the kernel would not ask again, for any file. It asks security.capability for each write."""
        return self._xattrs.get(inode, name)

    @answering
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        """The names of what getxattr knows."""
        return sorted(self._xattrs.all(inode))

    @answering
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Of a file that is being written."""
        self._xattrs.set(inode, name, value, ctx.uid)

    @answering
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Of a file that is being written."""
        self._xattrs.remove(inode, name, ctx.uid)
