# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers to the kernel's requests (design.md §9).

Which object a request means is `names.Names`; the reading, listing and writing are `handles`, `listing` and `intake`.
Trio loop only. Reads may be had by whoever the kernel lets in; writes by the mounting user and root. Permission bits
are not left to the kernel (``default_permissions``), because writing to a verified pack is EPERM for its owner too.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from typing import NoReturn

import pyfuse3
import trio

from gtfs.ids import ObjectId, pack_name
from gtfs.mount import inodes
from gtfs.mount.errnos import answering
from gtfs.mount.handles import ControlHandle, PackHandle
from gtfs.mount.inbox import PLACES, Inbox, InboxFile, InboxHandle
from gtfs.mount.incoming import IncomingFile, IncomingFiles, IncomingHandle
from gtfs.mount.intake import Intake
from gtfs.mount.listing import ControlListing, Listing, RootListing
from gtfs.mount.metadata import MetadataOperations
from gtfs.mount.names import CONTROL_NAME, Names, Parts, fail
from gtfs.mount.options import MountOptions
from gtfs.mount.tree import VERIFIED_STATES, ControlTree, IncomingSink, PackInfo, PackSource
from gtfs.mount.waits import Waits

log = logging.getLogger(__name__)

Handle = PackHandle | ControlHandle | IncomingHandle | InboxHandle


class Operations(MetadataOperations):
    """One mounted repository. Make it inside the trio loop that will serve it."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, source: PackSource, sink: IncomingSink, control: ControlTree, options: MountOptions) -> None:
        self._control = control
        self._files = IncomingFiles(sink.directory, options.incoming_limit_bytes)
        self._intake = Intake(self._files, source, sink)
        self._inbox = Inbox(control)
        super().__init__(source, Names(source, self._files, control, self._inbox, options), options)
        self._waits = Waits(options.read_timeout_s)
        self._limiter = trio.CapacityLimiter(4)  # reads of real files under .gtfs
        self._handles: dict[int, Handle] = {}
        self._file_closed = trio.Event()
        self._listings: dict[int, Listing] = {}
        self._next_handle = 1
        self._served = False  # else there is no session, and pyfuse3 would notify through a null pointer

    # -- for lifetime.py and node.py ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Find the names that an earlier run left in the incoming directory. Before serving."""
        await self._files.load()

    async def resume_task(self) -> None:
        """Hand over those of them that are whole: checks take time, and the mount need not wait for them."""
        await self._intake.resume_task()

    async def watch_readers_task(self) -> None:
        """End the waits of readers that are being killed."""
        await self._waits.watch_task()

    async def watch_writers_task(self) -> None:
        """Hand over what is whole though its writer keeps it open."""
        await self._intake.watch_task()

    def init(self) -> None:
        """The kernel's first request; also what makes notifications to it possible."""
        self._served = True

    def end_waits(self) -> None:
        """Every wait for the swarm ends now and from now on; what is local can still be read."""
        self._waits.close()

    async def wait_unused(self) -> None:
        """Return when no file is open."""
        while self._handles:
            self._file_closed = trio.Event()
            await self._file_closed.wait()

    def close(self) -> None:
        """Close the real files, when no request can come any more."""
        self._served = False
        self._files.close_nowait()

    def pack_changed_nowait(self, oid: ObjectId) -> None:
        """The state or the local part of a pack changed: the kernel asks again at the next look. On the loop."""
        self._names.changed()
        info = self._source.info(oid)
        if info is not None and self._served:
            try:
                pyfuse3.invalidate_inode(inodes.pack_inode(info.row), attr_only=True)
            except OSError as error:
                if error.errno != errno.ENOENT:  # the kernel never heard of it
                    log.debug("cannot invalidate %s: %s", oid.hex(), error)

    def packs_added_nowait(self, oids: Sequence[ObjectId]) -> None:
        """Packs became known: the directory has changed, as its mtime says at the next look. On the loop.

        Their names are found at once, since that they were not there is nothing that the kernel was ever told to keep.
        """
        if oids:
            self._names.changed()

    # -- looking ---------------------------------------------------------------------------------------------------

    @answering
    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Negative answers are not cached: a pack may be published at any moment."""
        return self._names.look_up(parent_inode, name)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Only what has a passing number is remembered for the kernel at all."""
        for inode, lookups in inode_list:
            self._names.inodes.forget(inode, lookups)

    @answering
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Exact at once, without the network."""
        return self._names.root() if inode == inodes.ROOT else self._names.of_node(self._names.node(inode))

    @answering
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """Only .gtfs has links."""
        node = self._names.node(inode)
        target = self._names.control(node).target if isinstance(node, Parts) else None
        if target is None:
            fail(errno.EINVAL)
        return target

    @answering
    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        """What access(2) promises is what the operations do."""
        if not mode & os.W_OK:
            return True
        if self._options.read_only:
            fail(errno.EROFS)
        node = None if inode == inodes.ROOT else self._names.node(inode)
        ours = node is None or isinstance(node, IncomingFile | InboxFile) or node in PLACES
        return ours and self._names.is_writer(ctx.uid)

    # -- directories ----------------------------------------------------------------------------------------------

    def _add(self, handle: Handle) -> int:
        number = self._next_handle
        self._next_handle += 1
        self._handles[number] = handle
        return number

    @answering
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """.gtfs itself is not listed in the root."""
        listing: Listing
        if inode == inodes.ROOT:
            listing = RootListing(
                self._source,
                self._files,
                self._names.root,
                self._names.of_name,
                self._names.attributes.pack,
                self._names.attributes.next_pack,
                self._names.shows,
            )
        else:
            parts = self._names.node(inode)
            if not isinstance(parts, Parts) or self._names.control(parts).kind != "dir":
                fail(errno.ENOTDIR)
            listing = ControlListing(self._control, parts, lambda: self._names.of_node(parts), self._names.of_control)
        number = self._next_handle
        self._next_handle += 1
        self._listings[number] = listing
        return number

    @answering
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Names with attributes; never waits."""
        for name, attributes, position in self._listings[fh].entries(start_id):
            if not pyfuse3.readdir_reply(token, name, attributes, position):
                return
            if name not in (b".", b".."):
                self._names.inodes.looked_up(attributes.st_ino)

    @answering
    async def releasedir(self, fh: int) -> None:
        """Forget the listing."""
        self._listings.pop(fh, None)

    @answering
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Make the names of incoming files durable."""
        await self._files.sync_directory()

    # -- open files -----------------------------------------------------------------------------------------------

    @answering
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Packs and .gtfs for reading, incoming files for both."""
        node = self._names.node(inode)
        writing = flags & os.O_ACCMODE != os.O_RDONLY
        truncate = bool(flags & os.O_TRUNC)
        if writing or truncate:
            self._names.need_writer(ctx.uid)
            if isinstance(node, PackInfo):
                await self._write_anew(node)
            if isinstance(node, Parts):
                inbox = self._inbox.create(node) if truncate else fail(errno.EPERM)
                return pyfuse3.FileInfo(fh=self._add(inbox), direct_io=True)
        if isinstance(node, InboxFile):
            return pyfuse3.FileInfo(
                fh=self._add(self._inbox.open(node, writing=writing, truncate=truncate)), direct_io=True
            )
        if isinstance(node, PackInfo):
            pack = PackHandle.opened(self._source, self._waits.of(ctx.pid), node, self._options.read_ahead_bytes)
            return pyfuse3.FileInfo(fh=self._add(pack), keep_cache=True)
        if isinstance(node, IncomingFile):
            if not self._names.is_writer(ctx.uid) and not node.mode & 0o004:
                fail(errno.EACCES)
            incoming = await self._files.open(node, writing=writing, truncate=truncate)
            node.straight = node.straight and not flags & os.O_APPEND  # who appends may come in parts
            return pyfuse3.FileInfo(fh=self._add(incoming), keep_cache=False)
        entry = self._names.control(node)
        if entry.kind != "file":
            fail(errno.EISDIR if entry.kind == "dir" else errno.ELOOP)
        control = await ControlHandle.opened(entry, self._waits.of(ctx.pid), self._limiter)
        return pyfuse3.FileInfo(fh=self._add(control), direct_io=control.changing, keep_cache=False)

    async def _write_anew(self, info: PackInfo) -> NoReturn:
        """A file of its own for who would write what is listed and was not verified here: by another way it may come.

        ESTALE lets the kernel look the name up again, and open that file.
        """
        if info.state in VERIFIED_STATES:
            fail(errno.EPERM)
        name = pack_name(info.oid).encode()
        if self._files.get(name) is None:
            handle = await self._files.create(name, 0o644, writing=False)
            handle.file.in_place = True
            await self._files.close(handle)
        fail(errno.ESTALE)

    @answering
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Bytes, fetched and verified first where they are not here."""
        handle = self._handles[fh]
        if isinstance(handle, IncomingHandle):
            return await self._files.read(handle, off, size)
        return await handle.read(off, size)

    def _incoming(self, fh: int) -> IncomingHandle:
        handle = self._handles[fh]
        if not isinstance(handle, IncomingHandle):
            fail(errno.EPERM)
        return handle

    @answering
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Into an incoming file."""
        handle = self._handles[fh]
        if isinstance(handle, InboxHandle):
            return self._inbox.write(handle.file, off, buf)
        self._intake.written()
        return await self._files.write(self._incoming(fh), off, buf)

    @answering
    async def flush(self, fh: int) -> None:
        """Comes for each closed descriptor; its errors are what close() returns."""
        handle = self._handles[fh]
        if isinstance(handle, IncomingHandle):
            await self._intake.flush(handle)
        elif isinstance(handle, InboxHandle):
            await self._inbox.flush(handle.file)

    @answering
    async def release(self, fh: int) -> None:
        """Comes once; nobody hears its errors."""
        handle = self._handles.pop(fh)
        self._file_closed.set()
        if isinstance(handle, IncomingHandle):
            self._names.changed()
            await self._intake.release(handle)
        elif isinstance(handle, ControlHandle | InboxHandle):
            await handle.close()

    @answering
    async def fsync(self, fh: int, datasync: bool) -> None:
        """Real for what is written; packs are durable since they are verified."""
        handle = self._handles[fh]
        if isinstance(handle, IncomingHandle):
            await self._files.sync(handle, data_only=datasync)

    @answering
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Size, times and mode of incoming files.

        The owner is always the mount's, and a pack's times and mode are what they are: setting them is accepted and
        changes nothing, because cp -a and rsync -a (--inplace: after its last close) would fail over it.
        """
        node = None if inode == inodes.ROOT else self._names.node(inode)
        self._names.need_writer(ctx.uid)
        handle = None if fh is None else self._handles[fh]
        if isinstance(handle, InboxHandle):
            node = handle.file
        if isinstance(node, Parts) and node not in PLACES:
            fail(errno.EPERM)
        if isinstance(node, PackInfo) and fields.update_size:
            await self._write_anew(node)
        if isinstance(node, InboxFile) and fields.update_size:
            self._inbox.truncate(node, attr.st_size)
        if isinstance(node, IncomingFile):
            if fields.update_size:
                await self._files.truncate(node, attr.st_size, None if fh is None else self._incoming(fh))
            if fields.update_mode:
                await self._files.set_mode(node, attr.st_mode)
            if fields.update_mtime:
                atime_ns = attr.st_atime_ns if fields.update_atime else node.mtime_ns
                await self._files.set_times(node, atime_ns, attr.st_mtime_ns)
        return self._names.root() if node is None else self._names.of_node(node)

    # -- names being written --------------------------------------------------------------------------------------

    @answering
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """A new incoming file of any name."""
        self._names.need_writer(ctx.uid)
        if parent_inode != inodes.ROOT:
            inbox = self._inbox.create(self._names.below(parent_inode, name))
            return pyfuse3.FileInfo(fh=self._add(inbox), direct_io=True), self._names.look_up(parent_inode, name)
        if name == CONTROL_NAME or self._names.find(name) is not None:
            fail(errno.EEXIST)
        writing = flags & os.O_ACCMODE != os.O_RDONLY
        handle = await self._files.create(name, mode & ~ctx.umask, writing=writing)
        handle.file.straight = not flags & os.O_APPEND
        self._names.changed()
        entry = self._names.of_node(handle.file)
        self._names.inodes.looked_up(entry.st_ino)
        return pyfuse3.FileInfo(fh=self._add(handle), keep_cache=False), entry

    @answering
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """One's own unfinished file; a pack refuses."""
        self._names.need_writer(ctx.uid)
        if parent_inode != inodes.ROOT:
            self._inbox.drop(self._names.inbox_file(parent_inode, name))
            return
        await self._intake.unlink(self._names.own_file(name))
        self._names.changed()

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
        self._names.need_writer(ctx.uid)
        if flags & ~pyfuse3.RENAME_NOREPLACE:
            fail(errno.EINVAL)
        if parent_inode_old != inodes.ROOT:
            inbox_file = self._names.inbox_file(parent_inode_old, name_old)
            await self._inbox.rename(inbox_file, self._names.below(parent_inode_new, name_new))
            return
        if parent_inode_new != inodes.ROOT:
            fail(errno.EXDEV)
        if name_new == CONTROL_NAME:
            fail(errno.EEXIST)
        file = self._names.own_file(name_old)
        await self._intake.rename(file, name_new, no_replace=bool(flags & pyfuse3.RENAME_NOREPLACE))
        self._names.changed()
