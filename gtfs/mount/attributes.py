# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``stat`` shows, and how long the kernel may believe it. Pure; any thread."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyfuse3

from gtfs.mount import inodes
from gtfs.mount.tree import VERIFIED_STAGES, ControlEntry, PackFields

if TYPE_CHECKING:
    from gtfs.mount.incomingfile import IncomingFile

FOREVER_S: Final = 86400.0  # for what cannot change any more
SHORT_S: Final = 1.0  # a pack that is still coming: its state and its blocks do change
BLOCK: Final = 512  # the unit of st_blocks, whatever st_blksize says (stat(2))
NS: Final = 1_000_000_000
_LATEST_S: Final = 1 << 55  # commits may claim any 64-bit time; this much fits into a time_t with room to compute


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


@dataclass(frozen=True)
class Attributes:
    """Builds the attributes of one mount, whose files all belong to one owner."""

    uid: int
    gid: int
    read_only: bool

    def _new(self, inode: int, mode: int, size: int, time_ns: int, timeout_s: float) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = mode
        entry.st_nlink = 1
        entry.st_uid, entry.st_gid = self.uid, self.gid
        entry.st_size = size
        entry.st_blocks = _blocks(size)
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = time_ns
        entry.entry_timeout = entry.attr_timeout = timeout_s
        return entry

    def directory(self, inode: int, time_ns: int, *, writable: bool = False) -> pyfuse3.EntryAttributes:
        """The root (``writable`` unless the mount is read-only) or a directory under ``.gtfs``."""
        mode = 0o755 if writable and not self.read_only else 0o555
        entry = self._new(inode, stat.S_IFDIR | mode, 0, time_ns, 0)
        entry.st_nlink = 2
        return entry

    def pack(self, pack: PackFields) -> pyfuse3.EntryAttributes:
        """A commit pack: exact size, blocks of what is local, read-only for everybody."""
        return self.next_pack(self._new(0, stat.S_IFREG | 0o444, 0, 0, 0), pack)

    def next_pack(self, entry: pyfuse3.EntryAttributes, pack: PackFields) -> pyfuse3.EntryAttributes:
        """The same in what `pack` gave for another one: a listing makes none anew for each of its packs."""
        row, _, size, time_s, stage, here = pack
        entry.st_ino = inodes.PACK_BASE + row
        entry.st_size = size
        entry.st_blocks = -(-(here if here < size else size) // BLOCK)
        if not -_LATEST_S < time_s < _LATEST_S:
            time_s = max(-_LATEST_S, min(time_s, _LATEST_S))
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = time_s * NS
        done = here >= size and stage in VERIFIED_STAGES
        entry.entry_timeout = entry.attr_timeout = FOREVER_S if done else SHORT_S
        return entry

    def incoming(self, inode: int, file: IncomingFile) -> pyfuse3.EntryAttributes:
        """A file that is being written; never cached, it turns into a pack at any moment."""
        entry = self._new(inode, stat.S_IFREG | file.mode, file.size, file.mtime_ns, 0)
        if file.name is None:
            entry.st_nlink = 0
        return entry

    def control(self, inode: int, found: ControlEntry, *, writable: bool = False) -> pyfuse3.EntryAttributes:
        """Something under ``.gtfs``; ``writable``: files may be put into this directory, or this is one of those."""
        if found.kind == "dir":
            return self.directory(inode, found.time_s * NS, writable=writable)
        if found.kind == "link":
            return self._new(inode, stat.S_IFLNK | 0o777, len(found.target or b""), found.time_s * NS, 0)
        return self._new(inode, stat.S_IFREG | (0o644 if writable else 0o444), found.size, found.time_s * NS, 0)
