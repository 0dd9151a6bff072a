# SPDX-License-Identifier: GPL-3.0-or-later
"""Into the background, but only once the mount stands: mount(8) takes the exit code for the truth.

Fork before trio, threads or libtorrent exist. The parent waits for one line from the child and ends with what it says.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final, NamedTuple

_READY: Final = b"ok"
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StartOutcome(NamedTuple):
    """In the parent: how the child's start went; ``message`` is one line for stderr, or empty."""

    exit_code: int
    message: str


class Daemon:
    """In the child: its line to the parent. Call `let_go` and `ready`, or `fail`, once; later calls do nothing."""

    def __init__(self, pipe: int) -> None:
        self._pipe: int | None = pipe

    def let_go(self, logfile: Path | None = None) -> None:
        """Let go of the terminal and of the working directory; the parent still waits. Raises OSError.

        Relative paths mean something else afterwards. Standard output and error go to ``logfile``, or nowhere.
        """
        if self._pipe is None:
            return
        os.chdir("/")
        write_to(logfile or Path(os.devnull), 1, 2)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)

    def ready(self) -> None:
        """The parent ends with 0."""
        self._tell(_READY)

    def fail(self, message: str, exit_code: int) -> bool:
        """The parent shows ``message`` and ends with ``exit_code``; False when it no longer waits for any."""
        line = " ".join(message.split())
        return self._tell(b"%d %s" % (exit_code, line.encode("utf-8", "surrogateescape")))

    def _tell(self, line: bytes) -> bool:
        if self._pipe is None:
            return False
        pipe, self._pipe = self._pipe, None
        try:
            os.write(pipe, line)
        except BrokenPipeError:  # the parent was killed: nobody to tell
            return False
        finally:
            os.close(pipe)
        return True


def open_log(path: Path) -> int:
    """Open a log to append to it; a link only where nobody but us and root can have put it. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    if not {path.lstat().st_uid, path.parent.stat().st_uid} <= {os.geteuid(), 0}:
        raise PermissionError(errno.EPERM, "the log is a link that another user made", str(path))
    return os.open(path, flags, 0o640)


def write_to(logfile: Path, *descriptors: int) -> None:
    """Let these descriptors write to the end of a file, which is made if it is not there. Raises OSError."""
    sys.stdout.flush()
    sys.stderr.flush()
    out = open_log(logfile)
    for descriptor in descriptors:
        os.dup2(out, descriptor)
    os.close(out)


def tell_manager(address: str, news: str) -> None:
    """Tell a service manager the news of this process (sd_notify(3)); ``address`` is what $NOTIFY_SOCKET says.

    One that does not listen is no reason to fail.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(news.encode("utf-8", "surrogateescape"), "\0" + address[1:] if address[0] == "@" else address)


def daemonize() -> Daemon | StartOutcome:
    """Fork: a `Daemon` in the child, in a session of its own; in the parent the `StartOutcome`, once it is known.

    A signal that ends the parent while it waits ends the child first. Raises `KeyboardInterrupt`.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(reading)
        os.setsid()
        return Daemon(writing)
    os.close(writing)
    try:
        for number in _ENDS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and shells have it
                signal.signal(number, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with open(reading, "rb") as pipe:
            line = pipe.read()
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    if line == _READY:
        return StartOutcome(0, "")
    _, status = os.waitpid(child, 0)
    code, _, message = line.decode("utf-8", "surrogateescape").partition(" ")
    if code.isdigit():
        return StartOutcome(int(code), message)
    ended = os.waitstatus_to_exitcode(status)
    how = f"by signal {-ended}" if ended < 0 else f"with exit code {ended}"
    return StartOutcome(1 if ended <= 0 else ended, f"the mount's process ended {how} before the mount stood")
