# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a repository without git: whose it is, that it is none. Any thread.

`repository` opens one; who only looks for a node's socket needs no more than this.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from gtfs.errors import Blame, GtfsError


class BadRepository(GtfsError):
    """A path that is no repository gtfs can use; the text says what to do."""

    fault = Blame.SOURCE


def owner_name(uid: int) -> str:
    """A user as messages call him."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def git_directory(path: Path) -> Path:
    """Where git keeps what belongs to the work tree at ``path``: objects, refs, our state (gitrepository-layout(5)).

    Anything else is given back as it is. Raises OSError.
    """
    place = path / ".git"
    if (path / "objects").is_dir() or not place.exists():
        return path
    if place.is_file():  # of a linked work tree, or of a submodule
        word, _, where = place.read_bytes().partition(b": ")
        if word != b"gitdir":
            return path
        place = path / os.fsdecode(where.rstrip(b"\n"))
    common = place / "commondir"
    return (place / os.fsdecode(common.read_bytes().rstrip(b"\n")) if common.is_file() else place).resolve()
