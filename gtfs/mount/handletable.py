# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that programs have open, by the numbers that the kernel has for them; what each kind is, it does itself.

Trio loop only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

import pyfuse3
import trio

from gtfs.mount import inodes
from gtfs.mount.droppedfiles import DroppedFile, DroppedFiles
from gtfs.mount.handles import ControlHandle, Handle, PackHandle
from gtfs.mount.handover import Handover
from gtfs.mount.incoming import IncomingFiles
from gtfs.mount.incomingfile import IncomingFile, IncomingHandle
from gtfs.mount.names import CONTROL_NAME, Names, Parts, fail
from gtfs.mount.tree import PackInfo, PackSource
from gtfs.mount.waits import Waits


@dataclass
class WrittenHandle:
    """An open incoming file, with the way that it goes when it is closed."""

    opened: IncomingHandle
    files: IncomingFiles
    handover: Handover
    on_close: Callable[[], None]

    async def read(self, offset: int, length: int) -> bytes:
        """See `Handle`."""
        return await self.files.contents.read(self.opened, offset, length)

    async def write(self, offset: int, data: bytes) -> int:
        """See `Handle`."""
        self.handover.written()
        return await self.files.contents.write(self.opened, offset, data)

    async def flush(self) -> None:
        """A descriptor is being closed: raises what is wrong with what was written."""
        await self.handover.flush(self.opened)

    async def sync(self, *, data_only: bool) -> None:
        """See `Handle`."""
        await self.files.contents.sync(self.opened, data_only=data_only)

    async def close(self) -> None:
        """See `Handle`."""
        self.on_close()
        await self.handover.release(self.opened)


class HandleTable:
    """Those of one mount."""

    def __init__(
        self,
        source: PackSource,
        names: Names,
        files: IncomingFiles,
        handover: Handover,
        dropped: DroppedFiles,
        waits: Waits,
        read_ahead_bytes: int,
    ) -> None:
        self._source = source
        self._names = names
        self._files = files
        self._handover = handover
        self._dropped = dropped
        self._waits = waits
        self._read_ahead_bytes = read_ahead_bytes
        self._limiter = trio.CapacityLimiter(4)  # reads of real files under .gtfs
        self._handles: dict[int, Handle] = {}
        self._next = 1
        self._one_closed = trio.Event()

    def get(self, number: int) -> Handle:
        """An open file."""
        return self._handles[number]

    def _add(self, handle: Handle, *, keep_cache: bool = False, direct_io: bool = False) -> pyfuse3.FileInfo:
        number = self._next
        self._next += 1
        self._handles[number] = handle
        return pyfuse3.FileInfo(fh=number, keep_cache=keep_cache, direct_io=direct_io)

    def _add_incoming(self, handle: IncomingHandle) -> pyfuse3.FileInfo:
        return self._add(WrittenHandle(handle, self._files, self._handover, self._names.changed))

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open what is there; ``flags`` of open(2)."""
        node = self._names.node(inode)
        writing = flags & os.O_ACCMODE != os.O_RDONLY
        truncate = bool(flags & os.O_TRUNC)
        if writing or truncate:
            self._names.need_writer(ctx.uid)
            if isinstance(node, PackInfo):
                await self._handover.begin_anew(node)
            if isinstance(node, Parts):
                return self._add(self._dropped.create(node) if truncate else fail(errno.EPERM), direct_io=True)
        if isinstance(node, DroppedFile):
            return self._add(self._dropped.open(node, writing=writing, truncate=truncate), direct_io=True)
        if isinstance(node, PackInfo):
            pack = PackHandle.opened(self._source, self._waits.of(ctx.pid, ctx.uid), node, self._read_ahead_bytes)
            return self._add(pack, keep_cache=True)
        if isinstance(node, IncomingFile):
            if not self._names.is_writer(ctx.uid) and not node.mode & 0o004:
                fail(errno.EACCES)
            incoming = await self._files.contents.open(node, writing=writing, truncate=truncate)
            node.straight = node.straight and not flags & os.O_APPEND  # who appends may come in parts
            return self._add_incoming(incoming)
        entry = self._names.control(node)
        if entry.kind != "file":
            fail(errno.EISDIR if entry.kind == "dir" else errno.ELOOP)
        control = await ControlHandle.opened(entry, self._waits.of(ctx.pid, ctx.uid), self._limiter)
        return self._add(control, direct_io=control.changing)

    async def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Make and open a new file; under .gtfs, one that is judged when it is closed."""
        self._names.need_writer(ctx.uid)
        if parent != inodes.ROOT:
            dropped = self._dropped.create(self._names.below(parent, name))
            return self._add(dropped, direct_io=True), self._names.look_up(parent, name)
        if name == CONTROL_NAME or self._names.find(name) is not None:
            fail(errno.EEXIST)
        writing = flags & os.O_ACCMODE != os.O_RDONLY
        handle = await self._files.create(name, mode & ~ctx.umask, writing=writing)
        handle.file.straight = not flags & os.O_APPEND
        self._names.changed()
        entry = self._names.of_node(handle.file)
        self._names.inodes.looked_up(entry.st_ino)
        return self._add_incoming(handle), entry

    async def release(self, number: int) -> None:
        """The last descriptor of it is gone."""
        handle = self._handles.pop(number)
        self._one_closed.set()
        await handle.close()

    async def wait_unused(self) -> None:
        """Return when no file is open."""
        while self._handles:
            self._one_closed = trio.Event()
            await self._one_closed.wait()
