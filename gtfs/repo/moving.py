# SPDX-License-Identifier: GPL-3.0-or-later
"""``$GIT_DIR/gtfs/moving``: the refs that a git of ours is moving, and whether it writes one index over all packs, so
that its locks are known should it be killed.

It is durable before git begins, and emptied when git has ended. A git that outlives us keeps the file's flock, by a
descriptor that it inherits: who sweeps waits for its end. Locks that anybody else has made are never touched.
One thread at a time.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import subprocess
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from gtfs.counted import counted
from gtfs.ids import ObjectId
from gtfs.repo.repository import Repository, git_environment

log = logging.getLogger(__name__)

LOCK: Final = ".lock"
JOINED_INDEX: Final = b"objects/pack/multi-pack-index"

_PACKED: Final = (b"packed-refs.lock", b"packed-refs.new")
_END_S: Final = 30.0  # for a git that outlived us
_STILL_S: Final = 1.0  # a lock that somebody holds now changes or goes in this time
_CLOCK_S: Final = 1.0  # by so much a file system's clock may be behind


class Moving:
    """Writes down ``refs`` (the name, and the new id or None) while git moves them; a context manager.

    HEAD, packed-refs and `JOINED_INDEX` are names as well.
    """

    def __init__(self, repository: Repository, refs: Mapping[bytes, ObjectId | None]) -> None:
        self._repository = repository
        self._text = b"".join(b"%s %s\n" % (oid.hex().encode() if oid else b"-", name) for name, oid in refs.items())
        self._fd = -1

    def __enter__(self) -> Self:
        self._repository.state_directory.mkdir(exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._repository.layout.moving, flags, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            os.ftruncate(self._fd, 0)
            with open(self._fd, "wb", closefd=False) as out:
                out.write(self._text)
            os.fsync(self._fd)
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if t is None:
            os.ftruncate(self._fd, 0)  # that this is lost in a power failure does no harm
        os.close(self._fd)
        if t is not None:  # as after Ctrl-C, when Python has killed git
            sweep_moving(self._repository)

    def run(self, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run git to its end; its failure is the caller's to judge."""
        return subprocess.run(
            self._repository.command(*args),
            input=stdin,
            capture_output=True,
            env=git_environment(),
            pass_fds=(self._fd,),
            check=False,
        )


def sweep_moving(repository: Repository) -> list[bytes]:
    """Take away the locks of a git of ours that was killed; gives their names. The caller holds the node's lock."""
    path = repository.layout.moving
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    try:
        if not _acquire(fd):
            log.warning("a git that gtfs started before still moves refs in %s", repository.path)
            return []
        with open(fd, "rb", closefd=False) as file:
            text = file.read()
        found = _left(repository, text, os.fstat(fd).st_mtime - _CLOCK_S)
        if found:
            time.sleep(_STILL_S)
            found = [lock for lock in found if lock in _left(repository, text, 0.0)]
        for name, _ in found:
            (repository.path / os.fsdecode(name)).unlink(missing_ok=True)
        if found:
            log.info("%s left by a killed git, %s first, gone now", counted(len(found), "lock"), found[0][0])
        os.ftruncate(fd, 0)
        return [name for name, _ in found]
    finally:
        os.close(fd)


def _acquire(fd: int) -> bool:
    end = time.monotonic() + _END_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        else:
            return True


def _left(repository: Repository, text: bytes, since_s: float) -> list[tuple[bytes, tuple[int, int, int]]]:
    """The locks that a git with this work can have left, made since then; each with what tells it from another."""
    expected: dict[bytes, bytes | None] = {}  # None: whatever it holds
    for line in text.splitlines():
        oid, _, name = line.partition(b" ")
        if name in (b"HEAD", JOINED_INDEX):
            expected[name + os.fsencode(LOCK)] = None
        elif name == b"packed-refs":
            expected.update(dict.fromkeys(_PACKED))
        elif name.startswith(b"refs/") and b"/../" not in name:
            expected[name + os.fsencode(LOCK)] = b"" if oid == b"-" else oid + b"\n"
    found = []
    for name, contents in expected.items():
        path = repository.path / os.fsdecode(name)
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_mtime < since_s:
                continue
            if contents is not None and status.st_size:
                with path.open("rb") as file:
                    if file.read(len(contents) + 1) != contents:
                        continue
        except OSError:
            continue
        found.append((name, (status.st_ino, status.st_mtime_ns, status.st_size)))
    return found
