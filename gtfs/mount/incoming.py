# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are being written: real files in the incoming directory, under the names that their writers gave them.

Not the judgement of their contents, which is `handover.Handover`. The bookkeeping is on the trio loop; system calls on
real files go through `calls.Calls`. A change of bookkeeping stands before the await that carries it out, so that no
two requests can take the same step.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import trio

from gtfs.errors import GtfsError
from gtfs.mount.calls import BRIEF_BYTES, Calls
from gtfs.mount.tree import Judged

log = logging.getLogger(__name__)

T = TypeVar("T")

NAME_BYTES: Final = 255  # NAME_MAX of every file system that may hold the incoming directory
_DISK_TROUBLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
_CLOSE_GRACE_S: Final = 2.0  # how long an open waits for a writer whose close is on its way


@dataclass(eq=False)
class IncomingHandle:
    """One open of an incoming file."""

    file: IncomingFile
    writing: bool
    flushed: bool = False  # a close() was seen since the last write: the release is probably on its way


@dataclass(eq=False)
class IncomingFile:
    """One file; compared by identity, it keeps its last attributes when its name is gone."""

    name: bytes | None  # None once unlinked, replaced or taken away
    size: int = 0
    mtime_ns: int = 0
    mode: int = 0o600  # permission bits as their owner set them; the real file is always writable for us
    handles: set[IncomingHandle] = field(default_factory=set)
    writer: IncomingHandle | None = None
    generation: int = 0  # counts changes of the contents
    judged: Judged | None = None  # what the sink's check made of these contents, which it accepted
    refused: int = -1  # the generation that it refused, for `refusal`
    refusal: GtfsError | None = None
    queued: bool = False  # handed to the sink
    in_place: bool = False  # made for who opens a listed pack; gone again if nothing is written
    xattrs: dict[bytes, bytes] = field(default_factory=dict)  # those of other programs
    straight: bool = True  # written once, from start to end, in one single open (design.md §9)
    fd: int | None = None  # shared by all handles
    fd_lock: trio.Lock = field(default_factory=trio.Lock)
    check_lock: trio.Lock = field(default_factory=trio.Lock)  # one check at a time
    writer_gone: trio.Event = field(default_factory=trio.Event)

    def changed(self) -> None:
        """The contents are about to be, or were, changed."""
        self.generation += 1
        self.judged = None
        self.mtime_ns = time.time_ns()


class IncomingFiles:
    """The files of the incoming directory.

    ``limit_bytes`` bounds the sum of their sizes (design.md §13 "incoming"): beyond it writes get EDQUOT.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self.directory = directory
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._files: dict[bytes, IncomingFile] = {}
        self._calls = Calls(8)
        self._trouble: str | None = None
        self.on_trouble: Callable[[str | None], None] = lambda _text: None  # hears what `_note` does

    async def in_thread(self, call: Callable[..., T], *args: object) -> T:
        """Run a system call on a real file where it may block."""
        return await self._noting(self._calls.in_thread, call, *args)

    async def briefly(self, call: Callable[..., T], *args: object) -> T:
        """Run one that hardly ever does."""
        return await self._noting(self._calls.briefly, call, *args)

    async def _noting(self, run: Callable[..., Awaitable[T]], call: Callable[..., T], *args: object) -> T:
        try:
            return await run(call, *args)
        except OSError as error:
            if error.errno in _DISK_TROUBLE:
                self._note(f"a file could not be written in {self.directory}: {error.strerror}")
            raise

    def _note(self, trouble: str | None) -> None:
        """Say once what the disk does to writers, who are told by errno only; None when it is over."""
        if trouble is not None and trouble != self._trouble:
            log.error("%s", trouble)
        if trouble != self._trouble:
            self._trouble = trouble
            self.on_trouble(trouble)

    async def load(self) -> None:
        """Find what an earlier run left behind; unfinished files are resumable and stay."""

        def scan() -> list[tuple[bytes, os.stat_result]]:
            with os.scandir(self.directory) as entries:
                return [(os.fsencode(e.name), e.stat(follow_symlinks=False)) for e in entries]

        for name, found in await self.in_thread(scan):
            if stat.S_ISREG(found.st_mode) and name not in self._files:
                self._files[name] = IncomingFile(
                    name,
                    found.st_size,
                    found.st_mtime_ns,
                    stat.S_IMODE(found.st_mode) & 0o777,
                    straight=False,
                )
                self._used_bytes += found.st_size

    def _at(self, name: bytes) -> Path:
        return self.directory / os.fsdecode(name)

    def path(self, file: IncomingFile) -> Path:
        """Where a file that still has a name really is."""
        assert file.name is not None
        return self._at(file.name)

    def get(self, name: bytes) -> IncomingFile | None:
        """The file of this name; one that the sink has taken away is forgotten here."""
        file = self._files.get(name)
        # Only the sink takes files away, and only those it was given: one lstat on a local disk, no thread needed.
        if file is not None and file.queued and not os.path.lexists(self._at(name)):
            self.drop(file)
            return None
        return file

    def all(self) -> list[IncomingFile]:
        """Every file with a name, in the order of their creation."""
        return [file for name in list(self._files) if (file := self.get(name)) is not None]

    def drop(self, file: IncomingFile) -> None:
        """The name is gone; open handles keep working on what they hold."""
        if file.name is not None and self._files.get(file.name) is file:
            del self._files[file.name]
            self._used_bytes -= file.size
        file.name = None

    def drop_if_gone(self, file: IncomingFile) -> None:
        """Forget a file that the sink may have moved to quarantine."""
        if file.name is not None and not os.path.lexists(self._at(file.name)):
            self.drop(file)

    def _grow(self, file: IncomingFile, size: int) -> None:
        """Account for a new size before it is made; raises EDQUOT."""
        growth = size - file.size
        if file.name is not None:
            if growth > 0 and self._used_bytes + growth > self._limit_bytes:
                text = f"over the limit incoming: {self._limit_bytes} bytes"
                self._note(f"a file could not be written in {self.directory}: {text}")
                raise OSError(errno.EDQUOT, text)
            self._used_bytes += growth
        file.size = size

    # -- names ----------------------------------------------------------------------------------------------------

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
            file.fd = await self.briefly(os.open, self._at(name), flags, file.mode | 0o600)
        except OSError:
            self.drop(file)
            raise
        return handle

    async def unlink(self, file: IncomingFile) -> None:
        """Remove a file's name, and the real file."""
        assert file.name is not None
        path = self._at(file.name)
        self.drop(file)
        try:
            await (self.briefly if file.size <= BRIEF_BYTES else self.in_thread)(os.unlink, path)
        except FileNotFoundError:
            pass  # the sink was faster

    async def rename(self, file: IncomingFile, name: bytes) -> None:
        """Give a file another name; a file that had it is gone."""
        assert file.name is not None
        if len(name) > NAME_BYTES:
            raise OSError(errno.ENAMETOOLONG, "name too long")
        old_name, replaced = file.name, self._files.get(name)
        await self.briefly(os.rename, self._at(old_name), self._at(name))
        # The kernel holds the directory's lock over a rename, so no other request changed these names meanwhile.
        if replaced is not None and replaced is not file:
            self.drop(replaced)
        del self._files[old_name]
        self._files[name] = file
        file.name = name

    async def sync_directory(self) -> None:
        """Make names durable."""

        def sync() -> None:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

        await self.in_thread(sync)

    # -- contents -------------------------------------------------------------------------------------------------

    async def open(self, file: IncomingFile, *, writing: bool, truncate: bool) -> IncomingHandle:
        """Open an existing file; a second writer gets EBUSY, so bytes of two never mix."""
        if writing and file.writer is not None and file.writer.flushed:
            with trio.move_on_after(_CLOSE_GRACE_S):
                await file.writer_gone.wait()
        if writing and (file.writer is not None or file.queued):
            raise OSError(errno.EBUSY, "already being written" if file.writer else "being taken in")
        if writing and file.name is None:
            raise OSError(errno.ESTALE, "taken away")
        handle = IncomingHandle(file, writing)
        file.handles.add(handle)
        if writing:
            file.writer, file.writer_gone = handle, trio.Event()
        try:
            await self._need_fd(file)
            if truncate:
                await self.truncate(file, 0, handle)
        except OSError:
            await self.close(handle)
            raise
        if writing and file.size:
            file.straight = False
        return handle

    async def _need_fd(self, file: IncomingFile) -> int:
        async with file.fd_lock:
            if file.fd is None:
                if file.name is None:
                    raise OSError(errno.ESTALE, "taken away")
                path = self._at(file.name)
                file.fd = await self.briefly(os.open, path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            return file.fd

    async def read(self, handle: IncomingHandle, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end."""
        run = self.briefly if length <= BRIEF_BYTES else self.in_thread
        return await run(os.pread, self._fd(handle), length, offset)

    def _fd(self, handle: IncomingHandle) -> int:
        if handle.file.fd is None:
            raise OSError(errno.EBADF, "closed")
        return handle.file.fd

    def check_writable(self, file: IncomingFile) -> None:
        """Raises the refusal of a file that was refused while open: what is in quarantine stays as it was judged."""
        if file.refusal is not None and file.name is None:
            raise file.refusal
        if file.queued:
            raise OSError(errno.EBUSY, "being taken in")

    async def write(self, handle: IncomingHandle, offset: int, data: bytes) -> int:
        """Write all of ``data``."""
        file, fd = handle.file, self._fd(handle)
        if not handle.writing:
            raise OSError(errno.EBADF, "not open for writing")
        self.check_writable(file)
        if offset != file.size:
            file.straight = False
        if offset + len(data) > file.size:
            try:
                self._grow(file, offset + len(data))
            except OSError:
                file.straight = False  # its writer knows already that something is missing
                raise
        handle.flushed = False
        file.changed()
        try:
            await (self.briefly if len(data) <= BRIEF_BYTES else self.in_thread)(_write_all, fd, offset, data)
        except OSError:
            file.straight = False
            self._grow(file, (await self.in_thread(os.fstat, fd)).st_size)
            raise
        finally:
            file.changed()  # a check that ran beside the write saw neither the old contents nor the new
        self._note(None)
        return len(data)

    async def truncate(self, file: IncomingFile, size: int, handle: IncomingHandle | None) -> None:
        """Set the size, as the writer or, without a handle, by name."""
        self.check_writable(file)
        if (handle is None or not handle.writing) and file.writer is not None:
            raise OSError(errno.EBUSY, "already being written")
        if size == file.size:
            return
        if size == 0:
            file.straight = len(file.handles) <= 1
        else:
            file.straight = False
        old_size = file.size
        self._grow(file, size)
        file.changed()
        try:
            if file.fd is not None:
                await self.in_thread(os.ftruncate, file.fd, size)
            elif file.name is not None:
                await self.in_thread(os.truncate, self._at(file.name), size)
        except OSError:
            self._grow(file, old_size)
            raise
        finally:
            file.changed()

    async def set_times(self, file: IncomingFile, atime_ns: int, mtime_ns: int) -> None:
        """Set the times that the file shows."""
        file.mtime_ns = mtime_ns
        await self._on_real_file(file, os.utime, {"ns": (atime_ns, mtime_ns)})

    async def set_mode(self, file: IncomingFile, mode: int) -> None:
        """Set the permission bits that the file shows."""
        file.mode = mode & 0o777
        await self._on_real_file(file, os.chmod, {"mode": file.mode | 0o600})

    async def _on_real_file(self, file: IncomingFile, call: Callable[..., None], named: dict[str, object]) -> None:
        where: int | Path
        if file.fd is not None:
            where = file.fd
        elif file.name is not None:
            where = self._at(file.name)
        else:
            return  # taken away: rsync --inplace sets time and mode after its last close
        try:
            await self.briefly(lambda: call(where, **named))
        except FileNotFoundError:
            self.drop_if_gone(file)

    async def sync(self, handle: IncomingHandle, *, data_only: bool) -> None:
        """Make the contents durable, and the name with them."""
        await self.in_thread(os.fdatasync if data_only else os.fsync, self._fd(handle))
        await self.sync_directory()

    def closing(self, handle: IncomingHandle) -> None:
        """The first, immediate half of `close`: the next writer may come."""
        file = handle.file
        file.handles.discard(handle)
        if file.writer is handle:
            file.writer = None
            file.writer_gone.set()

    async def close(self, handle: IncomingHandle) -> None:
        """Give a handle back; the last one closes the real file."""
        self.closing(handle)
        file = handle.file
        async with file.fd_lock:
            if file.fd is not None and not file.handles:
                fd, file.fd = file.fd, None
                await self.briefly(os.close, fd)

    def close_nowait(self) -> None:
        """Close every real file, when the mount is gone."""
        for file in list(self._files.values()):
            if file.fd is not None:
                os.close(file.fd)
                file.fd = None


def _write_all(fd: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
