# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies below a publisher's directory at one look: repositories that have a ref, and others that wait. Blocking.

A repository that is just being made is nobody's business: git's own work, a copy, or public-inbox's next epoch.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gtfs.collection.found import Stamp, check_owner, leave, repositories_below, stamp_of
from gtfs.collection.wanted import BadRepositoryName, check_name
from gtfs.layout import Layout
from gtfs.repo.place import BadRepository

_UNFINISHED: Final = ".tmp"  # at the end of a name: it is to have another one
_LOCK: Final = ".lock"  # of git, while it writes a ref
_PACKED_BYTES: Final = 4096  # of packed-refs, enough to see one ref
_AGAIN_S: Final = 60.0  # before git is asked again about what it refused
_KNOWN: Final = 10_000  # repositories of others


class OthersAllowed:
    """Whether repositories of other users may be used, as git says (safe.directory): each is asked about once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], tuple[float, str | None]] = {}

    def why_not(self, git_dir: Path) -> str | None:
        """Why one is left alone; None for one's own, and what was allowed. Raises OSError."""
        found, now_s = git_dir.stat(), time.monotonic()
        if found.st_uid == os.geteuid():
            return None
        key = git_dir, found.st_uid, found.st_ino
        until_s, why = self._known.get(key, (-math.inf, None))
        if now_s >= until_s:
            try:
                check_owner(git_dir)
                why = None
            except BadRepository as error:
                why = str(error)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = (math.inf if why is None else now_s + _AGAIN_S), why
        return why


@dataclass
class Below:
    """One look; ``directories`` are those in which something happens before the next one sees anything else."""

    ready: dict[str, Path] = field(default_factory=dict)  # by name: what git has of it
    waiting: dict[str, str] = field(default_factory=dict)  # why others are left alone
    published: dict[Path, Stamp] = field(default_factory=dict)  # by what git has of it
    directories: set[Path] = field(default_factory=set)


def look_below(top: Path, include: Sequence[str], exclude: Sequence[str], owners: OthersAllowed) -> Below:
    """Whatever is there now. Raises OSError where ``top`` cannot be read."""
    found = Below()
    for name, git_dir in repositories_below(top, include, exclude, found.directories, found.waiting):
        try:
            check_name(name)
        except BadRepositoryName as error:
            found.waiting[ascii(name)] = str(error)
            continue
        try:
            _look_at(name, git_dir, owners, found)
        except FileNotFoundError:  # it went meanwhile
            continue
        except OSError as error:
            leave(Path(name), error, found.waiting)
    return found


def _look_at(name: str, git_dir: Path, owners: OthersAllowed, found: Below) -> None:
    """Add one; nothing of it where OSError is raised."""
    why = owners.why_not(git_dir)
    if why is not None:
        found.waiting[name] = why
        return
    why = _why_not_yet(name, git_dir)
    if why is not None:
        found.waiting[name] = why
        found.directories |= {git_dir, *_ref_directories(git_dir)}
        return
    layout, stamp = Layout.in_repository(git_dir), stamp_of(git_dir)
    directory = next((p for p in (layout.catalogue, layout.root) if p.is_dir()), git_dir)
    found.ready[name] = git_dir
    found.directories.add(directory)
    if stamp is not None:
        found.published[git_dir] = stamp


def _why_not_yet(name: str, git_dir: Path) -> str | None:
    if name.removesuffix(".git").endswith(_UNFINISHED):
        return f"its name ends in {_UNFINISHED}: it is being made"
    if _has_ref(git_dir):
        return None
    if (git_dir / "objects" / "info" / "alternates").exists():
        return "it has no ref, only the objects of other repositories (objects/info/alternates)"
    return "it has no ref yet"


def _has_ref(git_dir: Path) -> bool:
    try:
        with open(git_dir / "packed-refs", "rb") as file:
            lines = file.read(_PACKED_BYTES).splitlines()
    except OSError:
        lines = []
    if any(line and not line.startswith((b"#", b"^")) for line in lines):
        return True
    return any(not name.endswith(_LOCK) for _, _, names in os.walk(git_dir / "refs") for name in names)


def _ref_directories(git_dir: Path) -> Iterator[Path]:
    return (Path(directory) for directory, _, _ in os.walk(git_dir / "refs"))
