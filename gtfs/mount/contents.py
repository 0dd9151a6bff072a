# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of files that are being written, and who has them open. Trio loop.

A change of bookkeeping stands before the await that carries it out, so that no two requests can take the same step.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from gtfs.errors import GtfsError, without_frames
from gtfs.mount.incomingdisk import IncomingDisk
from gtfs.mount.incomingfile import IncomingFile, IncomingHandle

_CLOSE_GRACE_S: Final = 2.0  # how long an open waits for a writer whose close is on its way


class Contents:
    """Of all files of the incoming directory; ``on_gone`` hears of one whose real file is not where it was."""

    def __init__(self, disk: IncomingDisk, on_gone: Callable[[IncomingFile], None]) -> None:
        self._disk = disk
        self._on_gone = on_gone

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
        except (OSError, GtfsError):
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
                path = self._disk.at(file.name)
                try:
                    file.fd = await self._disk.briefly(os.open, path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                except FileNotFoundError:  # the kernel looks the name up again, which by now is the pack's
                    raise OSError(errno.ESTALE, "taken away") from None
            return file.fd

    async def read(self, handle: IncomingHandle, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end."""
        return await self._disk.run_for(length, os.pread, self._fd(handle), length, offset)

    def _fd(self, handle: IncomingHandle) -> int:
        if handle.file.fd is None:
            raise OSError(errno.EBADF, "closed")
        return handle.file.fd

    def check_writable(self, file: IncomingFile) -> None:
        """Raises the refusal of a file that was refused while open: what is in quarantine stays as it was judged."""
        if file.refusal is not None and file.name is None:
            raise without_frames(file.refusal)
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
                self._disk.grow(file, offset + len(data))
            except OSError:
                file.straight = False  # its writer knows already that something is missing
                raise
        handle.flushed = False
        file.changed()
        try:
            await self._disk.run_for(len(data), _write_all, fd, offset, data)
        except OSError:
            file.straight = False
            self._disk.grow(file, (await self._disk.in_thread(os.fstat, fd)).st_size)
            raise
        finally:
            file.changed()  # a check that ran beside the write saw neither the old contents nor the new
        self._disk.note(None)
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
        self._disk.grow(file, size)
        file.changed()
        try:
            if file.fd is not None:
                await self._disk.in_thread(os.ftruncate, file.fd, size)
            elif file.name is not None:
                await self._disk.in_thread(os.truncate, self._disk.at(file.name), size)
        except OSError:
            self._disk.grow(file, old_size)
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
            where = self._disk.at(file.name)
        else:
            return  # taken away: rsync --inplace sets time and mode after its last close
        try:
            await self._disk.briefly(lambda: call(where, **named))
        except FileNotFoundError:
            self._on_gone(file)

    async def sync(self, handle: IncomingHandle, *, data_only: bool) -> None:
        """Make the contents durable, and the name with them."""
        await self._disk.in_thread(os.fdatasync if data_only else os.fsync, self._fd(handle))
        await self._disk.sync_directory()

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
                await self._disk.briefly(os.close, fd)


def _write_all(fd: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
