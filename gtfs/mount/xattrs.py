# SPDX-License-Identifier: GPL-3.0-or-later
"""Extended attributes: what the node says of a file, and what other programs put on one that is being written.

Trio loop only; nothing here waits.
"""

from __future__ import annotations

import errno
from typing import Final

import pyfuse3

from gtfs.ids import parse_pack_name
from gtfs.mount import inodes
from gtfs.mount.incomingfile import IncomingFile
from gtfs.mount.names import Names, fail
from gtfs.mount.tree import PackInfo, PackSource

OURS: Final = b"user.gtfs."
_USER: Final = b"user."
_ALL_BYTES: Final = 64 << 10  # names and values of one file, as on ext4


class ExtendedAttributes:
    """Those of one mount's files, by full name."""

    def __init__(self, source: PackSource, names: Names) -> None:
        self._source = source
        self._names = names

    def all(self, inode: int) -> dict[bytes, bytes]:
        """Every one of a file."""
        node = None if inode == inodes.ROOT else self._names.node(inode)
        if isinstance(node, PackInfo):
            return self._source.xattrs(node.oid)
        if not isinstance(node, IncomingFile):
            return {}
        oid = parse_pack_name(node.name) if node.name is not None else None
        if node.queued and oid is not None and self._source.info(oid) is not None:
            return self._source.xattrs(oid)
        found = node.xattrs | {OURS + b"state": b"queued" if node.queued else b"incoming"}
        if node.refusal is not None:
            found[OURS + b"reason"] = str(node.refusal).encode()
        return found

    def get(self, inode: int, name: bytes) -> bytes:
        """The value of one; raises ENOATTR.

        What is not in the namespace "user" there cannot be on any file here. Told so (EOPNOTSUPP), ls -l and cp ask
        once for a file system rather than for each file.
        """
        if not name.startswith(_USER):
            fail(errno.EOPNOTSUPP)
        found = self.all(inode).get(name)
        if found is None:
            fail(pyfuse3.ENOATTR)
        return found

    def set(self, inode: int, name: bytes, value: bytes, uid: int) -> None:
        """Put one on a file that is being written; see `_changeable`."""
        kept = self._changeable(inode, name, uid)
        if kept is None:
            return
        used = sum(len(n) + len(v) for n, v in kept.items() if n != name)
        if used + len(name) + len(value) > _ALL_BYTES:
            fail(errno.ENOSPC)
        kept[name] = value

    def remove(self, inode: int, name: bytes, uid: int) -> None:
        """Take one off a file that is being written; see `_changeable`."""
        kept = self._changeable(inode, name, uid)
        if kept is not None and kept.pop(name, None) is None:
            fail(pyfuse3.ENOATTR)

    def _changeable(self, inode: int, name: bytes, uid: int) -> dict[bytes, bytes] | None:
        """Where the attributes are that a writer may change.

        None for a change to no effect: ours are derived, and a pack has no others, but cp -a and rsync -X would fail
        over a refusal. Of a file that is being written they are kept until it is a pack or the mount ends.
        """
        self._names.need_writer(uid)
        if not name.startswith(_USER):
            fail(errno.EOPNOTSUPP)
        node = None if inode == inodes.ROOT else self._names.node(inode)
        return node.xattrs if isinstance(node, IncomingFile) and not name.startswith(OURS) else None
