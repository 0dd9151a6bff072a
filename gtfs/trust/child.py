# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of gpgv, gpg or ssh-keygen over bytes that anybody may have made, under limits of time, memory and output.

What it says is for others to judge. What it reads lies in memory alone, so that nothing is left behind by whatever ends
this process. May be called from any thread; it waits for the child.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gtfs.errors import Blame, GtfsError

MEMORY_BYTES: Final = 1 << 30  # design.md §13, RLIMIT_AS of a child
CPU_S: Final = 20
STATUS_FD: Final = "STATUS-FD"  # the word of a command that stands for the number of the status pipe
NO_HOME: Final = "/nonexistent"  # as GnuPG's home: it need not be there where nothing is written


class InMemory(NamedTuple):
    """The word of a command that names a file of these bytes, ``kind`` before its path."""

    data: bytes
    kind: str = ""


class ChildTimedOut(GtfsError):
    """The child took too long and was ended."""

    fault = Blame.TRUST


class ChildTooLoud(GtfsError):
    """The child wrote more than it may."""

    fault = Blame.TRUST


class ChildNotStarted(GtfsError):
    """The program is not there or cannot be run."""

    fault = Blame.SYSTEM


class ChildKilled(GtfsError):
    """Somebody killed the child, such as the kernel where memory is short: that says nothing of what it read."""

    fault = Blame.SYSTEM


def run_child(
    command: Sequence[str | InMemory],
    data: bytes,
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    most_bytes: int,
    cpu_s: int = CPU_S,
) -> tuple[int, bytes]:
    """Exit code and output: what comes through the pipe that `STATUS_FD` in ``command`` names, else standard output.

    ``data`` is its standard input. Raises the four errors above.
    """
    fds: list[int] = []
    out_r, out_w = os.pipe()
    try:
        # A file in memory instead of a pipe: nobody has to feed the child while its output is being read.
        _file(data, fds)
        has_status = STATUS_FD in command
        words = [_word(word, out_w, fds) for word in command]
        try:
            child = subprocess.Popen(
                words,
                stdin=fds[0],
                stdout=subprocess.DEVNULL if has_status else out_w,
                stderr=subprocess.DEVNULL,
                pass_fds=(*fds[1:], out_w) if has_status else fds[1:],
                env=environment,
                cwd="/",
            )
        except OSError as error:
            raise ChildNotStarted(f"{words[0]} cannot be run ({error.strerror})") from error
        os.close(out_w)
        out_w = -1
        try:
            _limit(child.pid, cpu_s)
            deadline = time.monotonic() + timeout_s
            said = _read(out_r, deadline, most_bytes)
            code = child.wait(max(0.0, deadline - time.monotonic()))
            if code == -signal.SIGKILL:
                raise ChildKilled(f"{words[0]} was killed before it ended")
            return code, said
        except subprocess.TimeoutExpired:
            raise ChildTimedOut(words[0]) from None
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    finally:
        for fd in (*fds, out_r, out_w):
            if fd >= 0:
                os.close(fd)


def _file(data: bytes, fds: list[int]) -> int:
    """A file in memory, at its beginning; its descriptor is noted at once."""
    fds.append(os.memfd_create("gtfs"))
    with open(fds[-1], "wb", closefd=False) as out:
        out.write(data)
    os.lseek(fds[-1], 0, os.SEEK_SET)
    return fds[-1]


def _word(word: str | InMemory, status: int, fds: list[int]) -> str:
    if isinstance(word, InMemory):
        return f"{word.kind}/proc/self/fd/{_file(word.data, fds)}"
    return str(status) if word == STATUS_FD else word


def _limit(pid: int, cpu_s: int) -> None:
    """Bound the child, which may have inherited lower limits: those stay, as only root may raise a hard one.

    Past the soft limit of time it gets SIGXCPU; past a hard one alone SIGKILL, as from anybody.
    """
    for what, wanted, beyond in ((resource.RLIMIT_AS, MEMORY_BYTES, 0), (resource.RLIMIT_CPU, cpu_s, 1)):
        try:
            soft, hard = resource.prlimit(pid, what)
            lowest = min(limit for limit in (wanted, soft, hard) if limit != resource.RLIM_INFINITY)
            most = lowest + beyond if hard == resource.RLIM_INFINITY else min(lowest + beyond, hard)
            resource.prlimit(pid, what, (lowest, most))
        except ProcessLookupError:  # it has ended already
            return


def _read(fd: int, deadline: float, most_bytes: int) -> bytes:
    """Everything up to the end of file; raises past ``deadline`` (monotonic seconds)."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    out = bytearray()
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise ChildTimedOut("no end of its output")
        got = os.read(fd, 1 << 16)
        if not got:
            return bytes(out)
        out += got
        if len(out) > most_bytes:
            raise ChildTooLoud(f"over the limit output: more than {most_bytes} bytes")
