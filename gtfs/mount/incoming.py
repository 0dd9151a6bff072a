# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are being written: real files in the incoming directory, under the names that their writers gave them.

Not the judgement of their contents, which is `handover.Handover`. The names are here, what is in the files in
`contents.Contents`. A change of bookkeeping stands before the await that carries it out, so that no two requests can
take the same step. Trio loop.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import Final

from gtfs.mount.contents import Contents
from gtfs.mount.incomingdisk import IncomingDisk
from gtfs.mount.incomingfile import IncomingFile, IncomingHandle

NAME_BYTES: Final = 255  # NAME_MAX of every file system that may hold the incoming directory


class IncomingFiles:
    """The files of the incoming directory, by name; for ``limit_bytes`` see `IncomingDisk`."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self.disk = IncomingDisk(directory, limit_bytes)
        self.contents = Contents(self.disk, self.drop_if_gone)
        self._files: dict[bytes, IncomingFile] = {}

    async def load(self) -> None:
        """Find what an earlier run left behind; unfinished files are resumable and stay."""

        def scan() -> list[tuple[bytes, os.stat_result]]:
            with os.scandir(self.disk.directory) as entries:
                return [(os.fsencode(e.name), e.stat(follow_symlinks=False)) for e in entries]

        for name, found in await self.disk.in_thread(scan):
            if stat.S_ISREG(found.st_mode) and name not in self._files:
                self._files[name] = IncomingFile(
                    name,
                    found.st_size,
                    found.st_mtime_ns,
                    stat.S_IMODE(found.st_mode) & 0o777,
                    straight=False,
                )
                self.disk.count(found.st_size)

    def path(self, file: IncomingFile) -> Path:
        """Where a file that still has a name really is."""
        assert file.name is not None
        return self.disk.at(file.name)

    def get(self, name: bytes) -> IncomingFile | None:
        """The file of this name; one that the sink has taken away is forgotten here."""
        file = self._files.get(name)
        # Only the sink takes files away, and only those it was given: one lstat on a local disk, no thread needed.
        if file is not None and file.queued and not os.path.lexists(self.disk.at(name)):
            self.drop(file)
            return None
        return file

    def all(self) -> list[IncomingFile]:
        """Every file with a name, in the order of their creation."""
        return [file for name in list(self._files) if (file := self.get(name)) is not None]

    def being_written(self) -> list[IncomingFile]:
        """Those with a name that somebody has open for writing; no system call, as many others may wait."""
        return [file for file in self._files.values() if file.writer is not None]

    def drop(self, file: IncomingFile) -> None:
        """The name is gone; open handles keep working on what they hold."""
        if file.name is not None and self._files.get(file.name) is file:
            del self._files[file.name]
            self.disk.count(-file.size)
        file.name = None

    def drop_if_gone(self, file: IncomingFile) -> None:
        """Forget a file that the sink may have moved to quarantine."""
        if file.name is not None and not os.path.lexists(self.disk.at(file.name)):
            self.drop(file)

    async def create(self, name: bytes, mode: int, *, writing: bool) -> IncomingHandle:
        """Make a new file and open it."""
        if len(name) > NAME_BYTES:
            raise OSError(errno.ENAMETOOLONG, "name too long")
        if name in self._files:
            raise OSError(errno.EEXIST, "exists")
        file = IncomingFile(name, 0, time.time_ns(), mode & 0o777)
        handle = IncomingHandle(file, writing)
        file.handles.add(handle)
        if writing:
            file.writer = handle
        self._files[name] = file
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file.fd = await self.disk.briefly(os.open, self.disk.at(name), flags, file.mode | 0o600)
        except OSError:
            self.drop(file)
            raise
        return handle

    async def unlink(self, file: IncomingFile) -> None:
        """Remove a file's name, and the real file."""
        assert file.name is not None
        path = self.disk.at(file.name)
        self.drop(file)
        try:
            await self.disk.run_for(file.size, os.unlink, path)
        except FileNotFoundError:
            pass  # the sink was faster

    async def rename(self, file: IncomingFile, name: bytes) -> None:
        """Give a file another name; a file that had it is gone."""
        assert file.name is not None
        if len(name) > NAME_BYTES:
            raise OSError(errno.ENAMETOOLONG, "name too long")
        old_name, replaced = file.name, self._files.get(name)
        await self.disk.briefly(os.rename, self.disk.at(old_name), self.disk.at(name))
        # The kernel holds the directory's lock over a rename, so no other request changed these names meanwhile.
        if replaced is not None and replaced is not file:
            self.drop(replaced)
        del self._files[old_name]
        self._files[name] = file
        file.name = name

    def close_nowait(self) -> None:
        """Close every real file, when the mount is gone."""
        for file in list(self._files.values()):
            if file.fd is not None:
                os.close(file.fd)
                file.fd = None
