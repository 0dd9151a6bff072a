# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer for each repository: an flock on ``$GIT_DIR/gtfs/lock`` that ends with the process. Any thread.

Whoever can open the file can hold it: it is 0600, in a directory that is ours alone (private.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from gtfs.errors import Blame, GtfsError

_NODE = b"node"  # the second word of who answers at the control socket while it lives
_LOOKS_S = 0.5  # as long as it is held by those alone who look whether it is held, they are waited for


class Busy(GtfsError):
    """Another process, ``pid`` (0: unknown), has the lock at ``path``; ``is_node``: it answers, now or soon.

    ``is_read``: that process keeps writers out while it reads, and has not signed.
    """

    fault = Blame.BUSY

    def __init__(self, path: Path, pid: int, *, is_node: bool, is_read: bool = False) -> None:
        who = f"process {pid}" if pid else "another process"
        do = "unmount it (gtfs umount DIR), or use the commands that talk to it: publish, sync, status"
        if not is_node:
            do = "that is a command at work: try again when it has ended"
        if is_read:
            do = "it cannot write there, and reads: try again when it has ended"
        super().__init__(f"{path.parent.parent} is in use by {who}; {do}")
        self.path = path
        self.pid = pid
        self.is_node = is_node


def lock_holder(path: Path) -> int | None:
    """The process that holds the lock, 0 when unknown, None when nobody does or it is not ours to know."""
    found = _look(path)
    return None if found is None else found[0]


def is_node_there(path: Path) -> bool:
    """Whether a node holds the lock, be it one that begins or ends."""
    found = _look(path)
    return found is not None and found[1]


def _look(path: Path) -> tuple[int, bool] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if try_lock(fd, fcntl.LOCK_SH) else _read(fd)
    finally:
        os.close(fd)


def try_lock(fd: int, kind: int) -> bool:
    """Have the flock ``kind`` of an open file, if nobody is in the way; whether it is had."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> tuple[int, bool]:
    """The process that signed, 0 when unknown, and whether it is a node."""
    pid, _, kind = os.pread(fd, 32, 0).strip().partition(b" ")
    return int(pid) if pid.isdigit() else 0, kind == _NODE


class Lock:
    """Had by `acquire`, let go by `release`, or as a context manager. ``is_node``: it will answer others' commands."""

    def __init__(self, path: Path, *, is_node: bool = False) -> None:
        self._path = path
        self._is_node = is_node
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
        end_s = time.monotonic() + _LOOKS_S
        while not try_lock(fd, kind):
            is_looked_at = try_lock(fd, fcntl.LOCK_SH)
            fcntl.flock(fd, fcntl.LOCK_UN)
            if not is_looked_at or time.monotonic() > end_s:
                pid, is_node = (0, False) if is_looked_at else _read(fd)  # who signed last is not who reads
                os.close(fd)
                raise Busy(self._path, pid, is_node=is_node, is_read=is_looked_at)
            time.sleep(0.002)
        self._fd = fd

    def sign(self) -> None:
        """Write this process's id into the file, and what it is; again after a fork, which keeps the lock."""
        if self._is_shared:
            return
        line = b"%d %b\n" % (os.getpid(), _NODE) if self._is_node else b"%d\n" % os.getpid()
        os.pwrite(self._fd, line, 0)  # at no moment is it empty
        os.ftruncate(self._fd, len(line))

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
