# SPDX-License-Identifier: GPL-3.0-or-later
"""The published repositories below a directory, as a collection lists them. Blocking; any thread.

What is listed is what each one's held catalogue says: nothing is signed, judged or changed here.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from gtfs.catalogue.store import CatalogueStore
from gtfs.collection.document import REEL_DIGITS, RepositoryEntry, Signing, feeds_of, plain_description
from gtfs.collection.wanted import NamePlaces, check_name
from gtfs.errors import GtfsError
from gtfs.ids import SHA1, ObjectFormat
from gtfs.layout import Layout
from gtfs.repo.repository import Repository, open_repository
from gtfs.state.feedkey import address
from gtfs.state.outstanding import why_unpublished

_PARTS: Final = ("HEAD", "objects", "refs")  # of a repository, whether bare or in .git
_WORK_TREE: Final = ".git"
_UNDESCRIBED: Final = "Unnamed repository;"  # git's own description of a new one
_DESCRIPTION_BYTES: Final = 4096  # of a file that are looked at
# What somebody below may do to his directory.
_LEFT: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP})


@dataclass
class FoundRepositories:
    """The entries by name, where they lie, and why others are left out."""

    entries: list[RepositoryEntry] = field(default_factory=list)
    repositories: dict[str, Repository] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


Stamp = tuple[int, ...]  # of files, which is another when they are
Lines = dict[Path, tuple[Stamp, tuple[str, ...], tuple[RepositoryEntry, ObjectFormat] | None]]  # by repository


def stamp_of(git_dir: Path) -> Stamp | None:
    """That of what a repository has published, None where it has nothing. Raises OSError."""
    try:
        found = Layout.in_repository(git_dir).latest.stat()
    except FileNotFoundError:
        return None
    described = 0
    with contextlib.suppress(OSError):
        described = (git_dir / "description").stat().st_mtime_ns
    return found.st_mtime_ns, found.st_size, found.st_ino, described


def find_published(
    top: Path,
    feeds: tuple[str, ...],
    include: Sequence[str],
    exclude: Sequence[str],
    known: Lines | None = None,
    listed: Collection[str] = (),
) -> FoundRepositories:
    """All below ``top`` whose names fit; ``feeds`` have `NAME_MARK` where a name goes. Raises OSError.

    What is ``known`` from the last time, and has published nothing since, is not read again. Of names that cannot lie
    beside each other those that are ``listed`` stay, else the first.
    """
    found = FoundRepositories()
    lines: Lines = {}
    for name, git_dir in repositories_below(top, include, exclude, unread=found.left_out):
        try:
            check_name(name)
            its_feeds = feeds_of(str(git_dir.relative_to(top)), feeds)
            stamp, before = stamp_of(git_dir), (known or {}).get(git_dir)
            if stamp is not None and before is not None and before[:2] == (stamp, its_feeds):
                entry = before[2]
            else:
                check_owner(git_dir)
                entry = _entry(name, git_dir, its_feeds)
            if stamp is not None:
                lines[git_dir] = stamp, its_feeds, entry
            if entry is None:
                found.left_out[name] = why_unpublished(Repository(git_dir, SHA1))
                continue
        except (GtfsError, PermissionError) as error:
            found.left_out[name if name.isprintable() else ascii(name)] = str(error)
            continue
        except OSError as error:
            leave(Path(name), error, found.left_out)
            continue
        found.entries.append(entry[0])
        found.repositories[name] = Repository(git_dir, entry[1])
    places, entries = NamePlaces(), found.entries
    found.entries = []
    for one in sorted(entries, key=lambda one: (one.name not in listed, one.name)):
        why = places.why_not(one.name)
        if why is not None:
            found.left_out[one.name] = why
            del found.repositories[one.name]
            continue
        places.add(one.name)
        found.entries.append(one)
    found.entries.sort(key=lambda entry: entry.name)
    if known is not None:
        known.clear()
        known.update(lines)
    return found


def check_owner(git_dir: Path) -> None:
    """Raise `BadRepository` for another user's that git would not touch (safe.directory): nothing in it is read."""
    if git_dir.stat().st_uid != os.geteuid():
        open_repository(git_dir)


def repositories_below(
    top: Path,
    include: Sequence[str],
    exclude: Sequence[str],
    passed: set[Path] | None = None,
    unread: dict[str, str] | None = None,
) -> Iterator[tuple[str, Path]]:
    """The names that fit, checked by nobody, and the directory that git has of each. Raises OSError.

    ``passed`` gets the directories in which they were looked for, ``unread`` those that cannot be looked into, and why.
    """
    unread = {} if unread is None else unread
    for git_dir in sorted(_git_dirs(top, set() if passed is None else passed, unread)):
        work_tree = git_dir.parent if git_dir.name == _WORK_TREE else git_dir
        name = str(work_tree.relative_to(top))
        if any(fnmatchcase(name, glob) for glob in include) and not any(fnmatchcase(name, glob) for glob in exclude):
            yield name, git_dir


def _git_dirs(top: Path, passed: set[Path], unread: dict[str, str]) -> Iterator[Path]:
    """Every repository below, none within another; no link is followed, and nothing whose name begins with a dot."""
    todo = [top]
    while todo:
        directory = todo.pop()
        passed.add(directory)
        try:
            below = _directories_in(directory)
        except FileNotFoundError:  # it went meanwhile
            if directory == top:
                raise
            continue
        except OSError as error:
            if directory == top:
                raise
            leave(directory.relative_to(top), error, unread)
            continue
        for path in below:
            try:
                git_dir = next((each for each in (path, path / _WORK_TREE) if _is_git_dir(each)), None)
            except OSError as error:
                leave(path.relative_to(top), error, unread)
                continue
            if git_dir is None:
                todo.append(path)
            else:
                yield git_dir


def _directories_in(directory: Path) -> list[Path]:
    with os.scandir(directory) as entries:
        return [Path(e.path) for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]


def leave(name: Path, error: OSError, unread: dict[str, str]) -> None:
    """Leave one alone, as who may write below stops nobody else. Raises a disk's failure, which is another thing."""
    if error.errno not in _LEFT:
        raise error
    shown = str(name)
    shown = shown if len(shown) <= 80 else shown[:80] + "..."
    unread[shown if shown.isprintable() else ascii(shown)] = f"it cannot be looked into: {error.strerror}"


def _is_git_dir(path: Path) -> bool:
    return all((path / part).exists() for part in _PARTS)


def _entry(name: str, git_dir: Path, feeds: tuple[str, ...]) -> tuple[RepositoryEntry, ObjectFormat] | None:
    """Its line; None where nothing was published yet. Raises `DamagedStore`, OSError."""
    directory = Layout.in_repository(git_dir).catalogue
    held = CatalogueStore(directory, read_only=True).newest_text() if directory.is_dir() else None
    if held is None:
        return None
    catalogue = held.catalogue
    if catalogue.feed_key is not None:
        feeds = (*feeds, address(bytes.fromhex(catalogue.feed_key), catalogue.repository))
    entry = RepositoryEntry(
        name=name,
        repository=catalogue.repository,
        version=catalogue.version,
        date_s=catalogue.date_s,
        signing=Signing(catalogue.signers, catalogue.threshold),
        feeds=feeds,
        reel=catalogue.reels[0].name[:REEL_DIGITS] if catalogue.reels else None,
        head=catalogue.head,
        description=_description(git_dir),
    )
    return entry, catalogue.object_format


def _description(git_dir: Path) -> str:
    try:
        with open(git_dir / "description", "rb", opener=_open_plain) as file:
            text = file.read(_DESCRIPTION_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return "" if text.startswith(_UNDESCRIBED) else plain_description(text)


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
