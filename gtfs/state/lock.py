# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer for each repository: an flock on ``$GIT_DIR/gtfs/lock`` that ends with the process. Any thread.

Whoever can open the file can hold it: it is 0600, in a directory that is ours alone (private.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType

from gtfs.errors import Blame, GtfsError


class Busy(GtfsError):
    """Another node holds the repository; ``pid`` is its process, 0 when unknown."""

    fault = Blame.BUSY

    def __init__(self, path: Path, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{path.parent.parent} is in use by {who}; "
            "unmount it (gtfs umount DIR), or use the commands that talk to it: publish, sync, status"
        )
        self.pid = pid


def lock_holder(path: Path) -> int | None:
    """The process that holds the lock, 0 when unknown, None when nobody does or it is not ours to know."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(fd, 32).strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)
    return None


class Lock:
    """Had by `acquire`, let go by `release`, or as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._is_shared = False

    def acquire(self) -> None:
        """Raises `Busy`, OSError."""
        self._acquire(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
        self.sign()

    def acquire_shared(self) -> None:
        """Keep writers out while a read-only file system is read, if it has a lock file. Raises `Busy`, OSError."""
        self._is_shared = True
        with contextlib.suppress(FileNotFoundError):
            self._acquire(os.O_RDONLY, fcntl.LOCK_SH)

    def _acquire(self, flags: int, kind: int) -> None:
        fd = os.open(self._path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(fd, 32).strip()
            os.close(fd)
            raise Busy(self._path, int(text) if text.isdigit() else 0) from None
        self._fd = fd

    def sign(self) -> None:
        """Write this process's id into the file; again after a fork, which keeps the lock."""
        if self._is_shared:
            return
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let go; harmless when not held."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.release()
