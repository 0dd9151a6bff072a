# SPDX-License-Identifier: GPL-3.0-or-later
"""Which object a name or an inode means, what stat shows of it, and who may change it.

Looks only: nothing here waits or changes a file. Trio loop only. Raises `pyfuse3.FUSEError` as the answer itself.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Final, NoReturn

import pyfuse3

from gtfs.ids import parse_pack_name
from gtfs.mount import inodes
from gtfs.mount.attributes import Attributes
from gtfs.mount.droppedfiles import PLACES, DroppedFile, DroppedFiles
from gtfs.mount.incoming import NAME_BYTES, IncomingFiles
from gtfs.mount.incomingfile import IncomingFile
from gtfs.mount.inodes import PassingInodes
from gtfs.mount.options import MountOptions
from gtfs.mount.tree import VERIFIED_STAGES, ControlEntry, ControlTree, PackInfo, PackSource

CONTROL_NAME: Final = b".gtfs"


class Parts(tuple[bytes, ...]):
    """The names from .gtfs down to something in it; () is .gtfs itself."""

    __slots__ = ()


Node = PackInfo | IncomingFile | DroppedFile | Parts  # what an inode other than the root's means


def fail(number: int) -> NoReturn:
    """Answer a request with an errno."""
    raise pyfuse3.FUSEError(number)


class Names:
    """The name space of one mount."""

    def __init__(
        self,
        source: PackSource,
        files: IncomingFiles,
        control: ControlTree,
        dropped: DroppedFiles,
        options: MountOptions,
    ) -> None:
        self._source = source
        self._files = files
        self._control = control
        self._dropped = dropped
        self._options = options
        self._writers = frozenset({0, options.uid})
        self._changed_ns = time.time_ns()
        self.attributes = Attributes(options.uid, options.gid, options.read_only)
        self.inodes = PassingInodes()

    def changed(self) -> None:
        """Names came or went: the root's mtime is now."""
        self._changed_ns = time.time_ns()

    # -- finding --------------------------------------------------------------------------------------------------

    def find(self, name: bytes) -> PackInfo | IncomingFile | None:
        """What a name in the root means; what is being written stands before a pack that is not verified yet."""
        oid = parse_pack_name(name)
        info = self._source.info(oid) if oid is not None else None
        file = self._files.get(name)
        if info is not None and (file is None or info.stage in VERIFIED_STAGES):
            return info
        return file

    def node(self, inode: int) -> Node:
        """What an inode other than the root's means."""
        row = inodes.pack_row(inode)
        if row is not None:
            info = self._source.info_by_row(row)
            if info is not None:
                return info
            fail(errno.ESTALE)  # the pack has gone: by its name the kernel asks again
        elif inode == inodes.CONTROL:
            return Parts()
        else:
            key = self.inodes.key(inode)
            if isinstance(key, Parts | IncomingFile | DroppedFile):
                return key
        fail(errno.ENOENT)

    def control(self, parts: tuple[bytes, ...]) -> ControlEntry:
        """What stands at a place under .gtfs."""
        found = self._control.look(parts)
        if found is None:
            fail(errno.ENOENT)
        return found

    def own_file(self, name: bytes) -> IncomingFile:
        """The incoming file of this name, for an operation that a pack refuses."""
        node = self.find(name)
        if node is None:
            fail(errno.ENOENT)
        if not isinstance(node, IncomingFile):
            fail(errno.EPERM)
        return node

    def below(self, parent: int, name: bytes) -> Parts:
        """The place of a name in a directory under .gtfs; EPERM in the root, where there are no directories."""
        above = Parts(()) if parent == inodes.CONTROL else self.node(parent) if parent != inodes.ROOT else None
        if not isinstance(above, Parts):
            fail(errno.EXDEV)
        return Parts((*above, name))

    def dropped_file(self, parent: int, name: bytes) -> DroppedFile:
        """The file of this name that is being copied into .gtfs, for what everything else there refuses."""
        parts = self.below(parent, name)
        found = self._dropped.get(parts)
        if found is None:
            self.control(parts)
            fail(errno.EPERM)
        return found

    def shows(self, file: IncomingFile) -> bool:
        """Whether the file's name means this file."""
        return file.name is not None and self.find(file.name) is file

    # -- attributes -----------------------------------------------------------------------------------------------

    def root(self) -> pyfuse3.EntryAttributes:
        """Attributes of the mount's own directory."""
        return self.attributes.directory(inodes.ROOT, self._changed_ns, writable=True)

    def of_control(self, parts: tuple[bytes, ...], found: ControlEntry) -> pyfuse3.EntryAttributes:
        """Attributes of something under .gtfs."""
        inode = self.inodes.number(Parts(parts)) if parts else inodes.CONTROL
        return self.attributes.control(inode, found, writable=parts in PLACES)

    def of_node(self, node: Node) -> pyfuse3.EntryAttributes:
        """Attributes of anything but the root."""
        if isinstance(node, PackInfo):
            return self.attributes.pack(node)
        if isinstance(node, IncomingFile):
            return self.attributes.incoming(self.inodes.number(node), node)
        if isinstance(node, DroppedFile):
            found = ControlEntry("file", len(node.data), node.time_s)
            return self.attributes.control(self.inodes.number(node), found, writable=True)
        return self.of_control(node, self.control(node))

    def of_name(self, name: bytes) -> pyfuse3.EntryAttributes | None:
        """Attributes of a name in the root, .gtfs apart."""
        node = self.find(name)
        return None if node is None else self.of_node(node)

    def names_below(self, parts: Parts) -> list[bytes]:
        """The names in a directory under .gtfs."""
        shown = self._control.names(parts)
        return [*shown, *(name for name in self._dropped.names(parts) if name not in shown)]

    def of_name_below(self, parts: Parts, name: bytes) -> pyfuse3.EntryAttributes | None:
        """Attributes of a name in a directory under .gtfs; what is being copied in stands before what is there."""
        place = (*parts, name)
        dropped = self._dropped.get(place)
        if dropped is not None:
            return self.of_node(dropped)
        found = self._control.look(place)
        return None if found is None else self.of_control(place, found)

    def look_up(self, parent: int, name: bytes) -> pyfuse3.EntryAttributes:
        """Attributes of a name in any directory; counts as a look-up for the kernel.

        The kernel looks a name up before whatever it does with it, and lets names of up to 1024 bytes pass.
        """
        if len(name) > NAME_BYTES:
            fail(errno.ENAMETOOLONG)
        if parent != inodes.ROOT:
            above = self.node(parent)
            if not isinstance(above, Parts):
                fail(errno.ENOTDIR)
            entry = self.of_name_below(above, name)
        elif name == CONTROL_NAME:
            entry = self.of_control((), self.control(()))
        else:
            entry = self.of_name(name)
        if entry is None:
            fail(errno.ENOENT)
        self.inodes.looked_up(entry.st_ino)
        return entry

    def of_inode(self, inode: int) -> pyfuse3.EntryAttributes:
        """Attributes of anything."""
        return self.root() if inode == inodes.ROOT else self.of_node(self.node(inode))

    def link_target(self, inode: int) -> bytes:
        """What a link under .gtfs leads to; raises EINVAL for what is none."""
        node = self.node(inode)
        target = self.control(node).target if isinstance(node, Parts) else None
        if target is None:
            fail(errno.EINVAL)
        return target

    # -- permission -----------------------------------------------------------------------------------------------

    def is_writer(self, uid: int) -> bool:
        """Whether this user may write here: the mounting user and root (design.md §10, policy local)."""
        return uid in self._writers

    def need_writer(self, uid: int) -> None:
        """Raises EROFS or EACCES."""
        if self._options.read_only:
            fail(errno.EROFS)
        if not self.is_writer(uid):
            fail(errno.EACCES)

    def may_access(self, inode: int, mode: int, uid: int) -> bool:
        """What access(2) asks, ``mode`` with its bits; raises EROFS."""
        node = None if inode == inodes.ROOT else self.node(inode)
        is_writer = self.is_writer(uid)
        if mode & os.W_OK:
            if self._options.read_only:
                fail(errno.EROFS)
            if not is_writer or isinstance(node, PackInfo) or (isinstance(node, Parts) and node not in PLACES):
                return False
        if isinstance(node, IncomingFile) and mode & os.R_OK and not is_writer and not node.mode & 0o004:
            return False
        shown = self.of_inode(inode).st_mode if mode & os.X_OK else 0
        return not stat.S_ISREG(shown) or bool(shown & 0o111)
