# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory is its user's alone (design.md §7): nobody else reads it, holds its lock or diverts our writes.

What is in it is looked at once, when it is opened. Afterwards nobody else can change it: the directory is ours, 0700.
Synchronous, any thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from gtfs.durable import sync_directory
from gtfs.errors import Blame, GtfsError
from gtfs.layout import Layout
from gtfs.repo.place import owner_name

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOR_OTHERS: Final = 0o077


class NotPrivate(GtfsError):
    """Something in the state directory, or itself, is not what gtfs made; the text names it."""

    fault = Blame.SOURCE


class ReadOnly(GtfsError):
    """What was asked for writes, and the state directory cannot be written."""

    fault = Blame.SYSTEM

    def __init__(self, root: Path) -> None:
        what = "cannot be written" if os.path.lexists(root) else "cannot be made"
        super().__init__(
            f"{root} {what}: a read-only file system, or a directory without write permission; where a node was, "
            "gtfs status, gtfs fsck and gtfs mount -o ro work"
        )


def is_read_only(root: Path) -> bool:
    """Whether nothing can be written in the state directory, or it cannot be made."""
    return not os.access(root if os.path.lexists(root) else root.parent, os.W_OK, effective_ids=True)


def make_private(root: Path, writers_modes: Collection[str] = ()) -> None:
    """Make the state directory ``root``, or see that all of it is ours, and take from others what they may do there.

    In the directories ``writers_modes`` files keep their mode. Raises `NotPrivate`, OSError.
    """
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=0o700)
        sync_directory(root.parent)
    with _opened(root) as fd:
        if stat.S_IMODE(os.fstat(fd).st_mode) & _FOR_OTHERS:
            os.fchmod(fd, 0o700)
        _look(root, fd, tighten=True, keep=writers_modes, is_top=True)


def check_private(root: Path) -> None:
    """The same for what is only read, if there is any: nothing is made or changed. Raises `NotPrivate`, OSError."""
    with open_private(root) as fd:
        if fd is not None:
            _look(root, fd, tighten=False, keep=(), is_top=True)


@contextlib.contextmanager
def open_private(root: Path) -> Iterator[int | None]:
    """A descriptor of the state directory, None if there is none yet; raises `NotPrivate`, OSError."""
    with contextlib.ExitStack() as stack:
        try:
            fd: int | None = stack.enter_context(_opened(root))
        except FileNotFoundError:
            fd = None
        yield fd


@contextlib.contextmanager
def _opened(path: Path, name: str | None = None, at: int | None = None) -> Iterator[int]:
    """A directory of ours, by descriptor: what is seen of it is what is used of it."""
    found = os.stat(path if name is None else name, dir_fd=at, follow_symlinks=False)
    _refuse(path, found)
    if not stat.S_ISDIR(found.st_mode):
        raise NotPrivate(f"{path} is not a directory; move it away")
    try:
        fd = os.open(path if name is None else name, _FLAGS, dir_fd=at)
    except PermissionError:
        if found.st_uid == os.geteuid():
            raise
        raise _foreign(path, found) from None
    try:
        _refuse(path, os.fstat(fd))
        yield fd
    finally:
        os.close(fd)


def _look(path: Path, fd: int, *, tighten: bool, keep: Collection[str], is_top: bool, has_links: bool = False) -> None:
    """``has_links``: to git's packs, while one of ours repacks and after a crash of it; who begins removes them."""
    with os.scandir(fd) as entries:
        found = list(entries)
    for entry in found:
        place = path / entry.name
        try:
            st = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # by another process of ours
            continue
        if has_links and stat.S_ISLNK(st.st_mode):
            continue
        _refuse(place, st)
        if stat.S_ISREG(st.st_mode):
            # What is written in place lies here.
            if is_top and st.st_nlink > 1:
                raise NotPrivate(f"{place} has another name elsewhere (a hard link); put a copy in its place")
        elif not stat.S_ISDIR(st.st_mode) and not stat.S_ISSOCK(st.st_mode):
            raise NotPrivate(f"{place} is neither a file nor a directory; move it away")
        mode = stat.S_IMODE(st.st_mode)
        keeps_mode = stat.S_ISREG(st.st_mode) and path.name in keep
        if tighten and mode & _FOR_OTHERS and not keeps_mode and st.st_uid == os.geteuid():
            with contextlib.suppress(FileNotFoundError):
                os.chmod(entry.name, mode & ~_FOR_OTHERS, dir_fd=fd)
        if stat.S_ISDIR(st.st_mode):
            links = has_links or (is_top and place == Layout(path).repacking)
            with contextlib.suppress(FileNotFoundError), _opened(place, entry.name, fd) as inner:
                _look(place, inner, tighten=tighten, keep=keep, is_top=False, has_links=links)


def read_unlinked(path: Path) -> bytes:
    """A small file of the state directory; raises `NotPrivate` for a link and what is no file, OSError."""
    try:
        # Not blocking: before its owner is known, it may be anything that somebody put there.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        raise (_behind_link(path) if e.errno == errno.ELOOP else e) from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotPrivate(f"{path} is no file; move it away")
        with open(fd, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(fd)


def _behind_link(path: Path) -> NotPrivate:
    return NotPrivate(
        f"{path} is a link, and gtfs keeps its state behind none; put there what it leads to (another disk: by a "
        "bind mount)"
    )


def _refuse(path: Path, found: os.stat_result) -> None:
    """What belongs to root is no danger: who is root needs no link to write somewhere."""
    if stat.S_ISLNK(found.st_mode):
        raise _behind_link(path)
    if found.st_uid not in (os.geteuid(), 0):
        raise _foreign(path, found)


def _foreign(path: Path, found: os.stat_result) -> NotPrivate:
    return NotPrivate(f"{path} belongs to {owner_name(found.st_uid)}, not to you; run gtfs as that user")
