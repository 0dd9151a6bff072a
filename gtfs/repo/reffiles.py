# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that git keeps refs in, as far as they can stand in the way of a move. Any thread.

Only files of single refs are looked at: packed-refs and other stores are git's own. What is seen here is a reason
told well, or a file healed; what decides is git.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.repo.moving import Moving
from gtfs.repo.repository import Repository

_FEW: Final = 64  # refs that are looked at one by one
_FILE_BYTES: Final = 4096  # a ref file has one id or one name
_ID = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64})\s*\Z")
_SYMBOLIC = re.compile(rb"ref:\s*(\S+)\s*\Z")


def _path(repository: Repository, name: bytes) -> Path:
    return repository.path / os.fsdecode(name)


def _contents(repository: Repository, name: bytes) -> bytes | None:
    """What the ref's own file holds; None if there is none. Raises OSError."""
    path = _path(repository, name)
    try:
        with contextlib.suppress(OSError):
            return b"ref: " + os.fsencode(path.readlink())  # git wrote symbolic refs so once
        with path.open("rb") as file:
            return file.read(_FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _show(name: bytes) -> str:
    return name.decode("utf-8", "replace")


class Trouble(NamedTuple):
    """What keeps a ref from moving; ``heals``: until `heal_empty` is asked."""

    text: str
    heals: bool = False


def trouble(repository: Repository, name: bytes) -> Trouble | None:
    """What keeps this ref from moving; None if nothing is seen."""
    lock = name + b".lock"
    if os.path.lexists(_path(repository, lock)):
        return Trouble(f"{_show(lock)} is there: another git moves it, or was killed; if none runs, remove that file")
    try:
        contents = _contents(repository, name)
    except OSError as error:
        return Trouble(f"its file cannot be read: {error.strerror}")
    if contents is None or _ID.match(contents):
        return None
    if symbolic := _SYMBOLIC.match(contents):
        return Trouble(f"it is a symbolic ref to {_show(symbolic[1])} here; git symbolic-ref --delete frees the name")
    if not contents.strip(b"\0 \t\n"):
        return Trouble("its file is empty, as a crash leaves one", heals=True)
    return Trouble(f"its file holds no object id; remove {_show(name)} in the repository and it is made anew")


def passed_over(repository: Repository, names: Iterable[bytes]) -> dict[bytes, str]:
    """Those of the names that git lists no ref for, and that have not gone: where they are kept is damaged, or not to
    be read. git passes over such refs with a warning at most; gives what is wrong."""
    packed = repository.path / "packed-refs"
    is_emptied = packed.is_file() and not packed.stat().st_size  # git writes a header into it at least
    found = {}
    for name in names:
        file = _path(repository, name)
        try:
            contents = _contents(repository, name)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # then no file can be there
                found[name] = f"git passes over {file}, which cannot be read: {error.strerror}"
            continue
        if contents is None:
            if is_emptied:
                found[name] = f"git finds no ref in {packed}, which is empty, as a crash leaves it"
        elif not (_ID.match(contents) or _SYMBOLIC.match(contents)):  # made just now; or at a branch that has gone
            what = "holds no object id" if contents.strip(b"\0 \t\n") else "is empty, as a crash leaves it"
            found[name] = f"git passes over {file}, which {what}"
    return found


def heal_empty(repository: Repository, names: Iterable[bytes]) -> list[bytes]:
    """Take away the empty files of these refs, whose place the caller knows; gives the refs."""
    names = set(names)
    if len(names) > _FEW:  # nearly all of many have no file of their own
        names &= _files(repository)
    empty = [name for name in names if (found := trouble(repository, name)) is not None and found.heals]
    healed = []
    with Moving(repository, dict.fromkeys(empty)) if empty else contextlib.nullcontext():
        for name in empty:
            with contextlib.suppress(OSError):
                lock = _path(repository, name + b".lock")
                os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666))
                try:
                    contents = _contents(repository, name)
                    if contents is not None and not contents.strip(b"\0 \t\n"):
                        _path(repository, name).unlink()
                        healed.append(name)
                finally:
                    lock.unlink()
    return healed


def _files(repository: Repository) -> set[bytes]:
    """The names of all refs that have files of their own; a directory that cannot be read has none."""
    found = set()
    waiting = [b"refs"]
    while waiting:
        directory = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(_path(repository, directory)) as entries:
            for entry in entries:
                name = directory + b"/" + os.fsencode(entry.name)
                found.add(name)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
    return found


def ref_files(repository: Repository, below: bytes) -> list[bytes]:
    """The names of the refs directly below a directory that have files of their own, sound or not."""
    try:
        names = [os.fsencode(path.name) for path in _path(repository, below).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [below + name for name in names if not name.endswith(b".lock")]


def conflicts(new: Iterable[bytes], existing: Sequence[bytes]) -> dict[bytes, str]:
    """Those of the new names that an existing ref excludes, as git keeps refs as files; with the reason."""
    found = {}
    ordered = sorted(existing)
    present = set(existing)
    for name in new:
        below = name + b"/"
        at = bisect_left(ordered, below)
        other = ordered[at] if at < len(ordered) and ordered[at].startswith(below) else None
        end = name.rfind(b"/")
        while other is None and end > 0:
            other = name[:end] if name[:end] in present else None
            end = name.rfind(b"/", 0, end)
        if other is not None:
            found[name] = f"{_show(other)} is here, and git cannot have both names; rename or remove it"
    return found
