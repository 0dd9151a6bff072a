# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are the old ones or the new ones, whole, after a power cut. Blocking; any thread that may block."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

TEMPORARY_PREFIX: Final = ".writing-"  # what a crash may leave; swept when a node starts
_FILE_FOR_ALL: Final = 0o644
_DIRECTORY_FOR_ALL: Final = 0o755


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable: renames and new files are lost without it. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make a file's contents durable; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def temporary_in(directory: Path, mode: int = 0o600) -> tuple[int, Path]:
    """A new empty file in ``directory`` open for writing; the umask takes its part of ``mode``."""
    path = directory / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), path


def replace_file(path: Path, data: bytes, mode: int = 0o600, *, for_all: bool = False) -> None:
    """Give ``path`` these contents: temporary file, fsync, rename, fsync of the directory. Raises OSError.

    ``for_all``: everybody may read it, whatever the umask is.
    """
    fd, temporary = temporary_in(path.parent, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            if for_all:
                os.fchmod(file.fileno(), _FILE_FOR_ALL)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def make_directory(directory: Path) -> None:
    """Make a directory of ours alone, and those above it, durably: what is synced in it is lost with its name.

    What is there stays as it is. Raises OSError.
    """
    for path in reversed([directory, *directory.parents]):
        if not path.is_dir():
            path.mkdir(mode=0o700, exist_ok=True)
            sync_directory(path.parent)


def make_for_all(directory: Path) -> None:
    """Make a directory, and those above it, for everybody to read, whatever the umask is; what is there stays as it is.

    Raises OSError.
    """
    for path in reversed([directory, *directory.parents]):
        if not path.is_dir():
            path.mkdir(exist_ok=True)
            path.chmod(_DIRECTORY_FOR_ALL)


def sweep_temporaries(directory: Path) -> int:
    """Remove what a crash left in ``directory``; returns how many files."""
    leftovers = list(directory.glob(f"{TEMPORARY_PREFIX}*"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)
