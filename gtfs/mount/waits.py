# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for what may never come: each has a deadline, ends when its reader is being killed, and all of them end at once
when the mount goes away.

A cancelled request is answered with an errno rather than dropped: a dropped one leaves its caller in uninterruptible
sleep until the connection to the kernel is closed. Trio loop only.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio

from gtfs.errors import Blame, GtfsError
from gtfs.mount.mountpoint import REQUESTS
from gtfs.mount.tree import ReadTimedOut

T = TypeVar("T")

_LOOK_S: Final = 0.2  # how often the readers of what waits are looked at
_AGAIN_S: Final = 1.0  # in which the kernel's second try of a read that failed comes
_ENDING: Final = sum(
    1 << number - 1 for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM)
)


class MountClosing(GtfsError):
    """The mount is going away and waits for nothing any more (ESHUTDOWN)."""

    fault = Blame.SYSTEM

    def __init__(self) -> None:
        super().__init__("the file system is being unmounted")


class ReaderStopped(GtfsError):
    """Whoever opened the file is being killed (EINTR)."""

    fault = Blame.INTERRUPT

    def __init__(self) -> None:
        super().__init__("the reader was interrupted")


class TooManyReads(GtfsError):
    """With one more, more reads of this user would wait than other users could add (EAGAIN)."""

    fault = Blame.BUSY

    def __init__(self, uid: int, reads: int) -> None:
        super().__init__(f"{reads} reads of user {uid} wait already")


@dataclass(frozen=True)
class _Process:
    """What matters here of proc_pid_status(5)."""

    group: int  # the process of a thread
    is_over: bool
    pending: int  # signals that will be delivered, as a mask

    @classmethod
    def find(cls, pid: int) -> _Process | None:
        """The process or thread ``pid``; None where there is none to be seen."""
        try:
            text = Path(f"/proc/{pid}/status").read_bytes()
        except OSError:
            return None
        fields = dict(line.split(b":", 1) for line in text.splitlines() if b":" in line)
        pending, blocked, shared, ignored = (int(fields[k], 16) for k in (b"SigPnd", b"SigBlk", b"ShdPnd", b"SigIgn"))
        is_over = fields[b"State"].strip()[:1] in b"ZX"
        return cls(int(fields[b"Tgid"]), is_over, (pending | shared) & ~(blocked | ignored))


def living_process(pid: int) -> int:
    """The process of the thread ``pid``, 0 if it is over or cannot be seen."""
    found = _Process.find(pid) if pid else None
    return 0 if found is None or found.is_over else found.group


def is_being_ended(pid: int) -> bool:
    """Whether a process that lived a moment ago is gone, or has a signal pending that ends programs.

    A signal stays pending while its process is held in the kernel, as by a read of ours: the kernel tells FUSE of the
    interruption, but pyfuse3 does not pass it on.
    """
    found = _Process.find(pid)
    return found is None or found.is_over or bool(found.pending & _ENDING)


@dataclass(eq=False)
class _Wait:
    """One request that waits for the reader ``pid``, 0 when unknown."""

    scope: trio.CancelScope
    pid: int
    stopped: bool = False


class Waits:
    """The waits of one mount."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._waits: set[_Wait] = set()
        self._reads: Counter[int] = Counter()  # under way, by user
        self._some = trio.Event()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """End every wait, now and from now on, with `MountClosing`."""
        self._closed = True
        for wait in self._waits:
            wait.scope.cancel()

    async def watch_task(self) -> None:
        """End the waits whose readers are being killed, until cancelled."""
        while True:
            await self._some.wait()
            await trio.sleep(_LOOK_S)
            ending = {pid: is_being_ended(pid) for pid in {wait.pid for wait in self._waits} - {0}}
            for wait in self._waits:
                if ending.get(wait.pid):
                    wait.stopped = True
                    wait.scope.cancel()
            if not self._waits:
                self._some = trio.Event()

    def of(self, pid: int, uid: int) -> FileWaits:
        """Those of a file that the process ``pid`` of the user ``uid`` opens."""
        return FileWaits(self, pid, uid)

    @contextmanager
    def reading(self, uid: int) -> Iterator[None]:
        """Within is one read, or look at what is still to come, of this user; raises `TooManyReads`.

        A user may have no more of them than are then left for all others: so many users share equally, and something
        is always left for what does not wait.
        """
        own, free = self._reads[uid], REQUESTS - self._reads.total()
        if own + 1 > free - 1:
            raise TooManyReads(uid, own)
        self._reads[uid] += 1
        try:
            yield
        finally:
            self._reads[uid] -= 1
            if not self._reads[uid]:
                del self._reads[uid]

    async def run(self, fetch: Callable[[], Awaitable[T]], pid: int = 0) -> T:
        """What ``fetch`` returns, for the reader ``pid`` (0: unknown).

        Raises `ReadTimedOut` at the deadline, `ReaderStopped` when the reader is being killed, and `MountClosing` when
        the mount goes away.
        """
        if self._closed:
            raise MountClosing
        with trio.CancelScope(deadline=trio.current_time() + self._timeout_s) as scope:
            wait = _Wait(scope, pid)
            self._waits.add(wait)
            self._some.set()
            try:
                return await fetch()
            finally:
                self._waits.discard(wait)
        if self._closed:
            raise MountClosing
        if wait.stopped:
            raise ReaderStopped
        raise self._timed_out()

    async def run_here(self, fetch: Callable[[], Awaitable[T]]) -> T:
        """What ``fetch`` returns of bytes that are on this machine, even when the mount goes away.

        Raises `ReadTimedOut` at the deadline: a cache may let go of them meanwhile.
        """
        with trio.move_on_after(self._timeout_s):
            return await fetch()
        raise self._timed_out()

    def _timed_out(self) -> ReadTimedOut:
        return ReadTimedOut(f"no peer delivered the data within {self._timeout_s:g} s (read_timeout)")


class FileWaits:
    """The waits of one open file.

    When a read-ahead fails, the kernel asks once more for the page that its reader stands at, in a request that
    nothing but our answer ends. That one fails at once: else each read would wait twice as long as it may.
    """

    def __init__(self, waits: Waits, pid: int, uid: int) -> None:
        self._waits = waits
        self._uid = uid
        self._thread = pid  # that opened the file
        self._pid: int | None = None  # its process
        self._failed = range(0)
        self._failed_at = 0.0
        self._failure: GtfsError | None = None

    @property
    def closed(self) -> bool:
        """Whether the mount is going away."""
        return self._waits.closed

    async def run_here(self, fetch: Callable[[], Awaitable[T]]) -> T:
        """See `Waits.run_here`; raises `TooManyReads`, too."""
        with self._waits.reading(self._uid):
            return await self._waits.run_here(fetch)

    async def run(self, fetch: Callable[[], Awaitable[T]], wanted: range = range(0)) -> T:
        """What ``fetch`` returns, the bytes ``wanted`` of the file; raises as `Waits.run`, and `TooManyReads`."""
        if self._failure is not None and wanted.start in self._failed:
            if trio.current_time() - self._failed_at < _AGAIN_S:
                raise self._failure
            self._failure = None
        # A file may outlive its opener, in the hands of a child: only one that lives now can be found to end.
        if self._pid is None:
            self._pid = living_process(self._thread)
        try:
            with self._waits.reading(self._uid):
                return await self._waits.run(fetch, living_process(self._pid))
        except (ReadTimedOut, ReaderStopped) as failure:
            self._failed, self._failed_at, self._failure = wanted, trio.current_time(), failure
            raise
