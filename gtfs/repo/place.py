# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a repository without git: whose it is, that it is none. Any thread.

`repository` opens one; who only looks for a node's socket needs no more than this.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import Final

from gtfs.errors import Blame, GtfsError


class BadRepository(GtfsError):
    """A path that is no repository gtfs can use; the text says what to do."""

    fault = Blame.SOURCE


_GIT: Final = ".git"
_LEADS: Final = b"gitdir: "  # how a work tree's file of that name begins (gitrepository-layout(5))


def git_dir_at(path: Path) -> Path:
    """The repository that belongs to the work tree at ``path``; ``path`` itself where there is none.

    Raises `BadRepository` where somebody else's link or file leads away, which git does not follow either, and OSError.
    """
    inside = path / _GIT
    try:
        found = inside.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    if stat.S_ISDIR(found.st_mode):
        return inside
    if found.st_uid != os.geteuid():
        raise BadRepository(f"{inside} belongs to {owner_name(found.st_uid)} and leads elsewhere; name the repository")
    if inside.is_dir():
        return inside
    said = inside.read_bytes()
    if not said.startswith(_LEADS):
        return path
    own = path / os.fsdecode(said.removeprefix(_LEADS).rstrip(b"\n"))
    try:  # a linked work tree's: refs and objects are the repository's that it was made from
        return own / os.fsdecode((own / "commondir").read_bytes().rstrip(b"\n"))
    except FileNotFoundError:
        return own


def owner_name(uid: int) -> str:
    """A user as messages call him."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
