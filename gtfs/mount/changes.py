# SPDX-License-Identifier: GPL-3.0-or-later
"""What writers change beside contents: names, and size, times and mode. Trio loop only."""

from __future__ import annotations

import errno
from typing import NoReturn

import pyfuse3

from gtfs.mount import inodes
from gtfs.mount.droppedfiles import PLACES, DroppedFile, DroppedFiles, DroppedHandle
from gtfs.mount.handles import Handle
from gtfs.mount.handletable import WrittenHandle
from gtfs.mount.handover import Handover
from gtfs.mount.incoming import IncomingFiles
from gtfs.mount.incomingfile import IncomingFile
from gtfs.mount.names import CONTROL_NAME, Names, Parts, fail
from gtfs.mount.tree import PackInfo


class Changes:
    """Of one mount; ``uid`` is whose request it is."""

    def __init__(self, names: Names, files: IncomingFiles, handover: Handover, dropped: DroppedFiles) -> None:
        self._names = names
        self._files = files
        self._handover = handover
        self._dropped = dropped

    def refuse(self, uid: int) -> NoReturn:
        """What can never be made or removed here."""
        self._names.need_writer(uid)
        fail(errno.EPERM)

    async def unlink(self, parent: int, name: bytes, uid: int) -> None:
        """Remove an unfinished file."""
        self._names.need_writer(uid)
        if parent != inodes.ROOT:
            self._dropped.forget(self._names.dropped_file(parent, name))
            return
        await self._handover.unlink(self._names.own_file(name))
        self._names.changed()

    async def rename(self, old_parent: int, old: bytes, new_parent: int, new: bytes, flags: int, uid: int) -> None:
        """Rename an unfinished file; ``flags`` of renameat2(2)."""
        self._names.need_writer(uid)
        if flags & ~pyfuse3.RENAME_NOREPLACE:
            fail(errno.EINVAL)
        if old_parent != inodes.ROOT:
            dropped_file = self._names.dropped_file(old_parent, old)
            await self._dropped.rename(dropped_file, self._names.below(new_parent, new))
            return
        if new_parent != inodes.ROOT:
            fail(errno.EXDEV)
        if CONTROL_NAME in (old, new):
            fail(errno.EPERM if old == CONTROL_NAME else errno.EEXIST)
        file = self._names.own_file(old)
        await self._handover.rename(file, new, no_replace=bool(flags & pyfuse3.RENAME_NOREPLACE))
        self._names.changed()

    async def set_attributes(
        self,
        inode: int,
        wanted: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        handle: Handle | None,
        uid: int,
    ) -> pyfuse3.EntryAttributes:
        """Set those ``fields`` that can be set, and give the attributes as they are then.

        The owner is always the mount's, and a pack's times and mode are what they are: setting them is accepted and
        changes nothing, because cp -a and rsync -a (--inplace: after its last close) would fail over it.
        """
        node = None if inode == inodes.ROOT else self._names.node(inode)
        self._names.need_writer(uid)
        if isinstance(handle, DroppedHandle):
            node = handle.file
        if isinstance(node, Parts) and node not in PLACES:
            fail(errno.EPERM)
        if isinstance(node, PackInfo) and fields.update_size:
            await self._handover.begin_anew(node)
        if isinstance(node, DroppedFile) and fields.update_size:
            self._dropped.truncate(node, wanted.st_size)
        if isinstance(node, IncomingFile):
            if fields.update_size:
                await self._truncate(node, wanted.st_size, handle)
            if fields.update_mode:
                await self._files.contents.set_mode(node, wanted.st_mode)
            if fields.update_mtime:
                atime_ns = wanted.st_atime_ns if fields.update_atime else node.mtime_ns
                await self._files.contents.set_times(node, atime_ns, wanted.st_mtime_ns)
        return self._names.root() if node is None else self._names.of_node(node)

    async def _truncate(self, file: IncomingFile, size: int, handle: Handle | None) -> None:
        if handle is not None and not isinstance(handle, WrittenHandle):
            fail(errno.EPERM)
        self._handover.written()
        await self._files.contents.truncate(file, size, None if handle is None else handle.opened)
        if size == 0:  # by name nobody closes it: what is left must not stand before the pack that is listed
            await self._handover.remove_if_void(file)
