# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are the old ones or the new ones, whole, after a power cut. Blocking; any thread that may block."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

TEMPORARY_PREFIX: Final = ".writing-"  # what a crash may leave; swept when a node starts


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


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Give ``path`` these contents: temporary file, fsync, rename, fsync of the directory. Raises OSError."""
    fd, temporary = temporary_in(path.parent, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def sweep_temporaries(directory: Path) -> int:
    """Remove what a crash left in ``directory``; returns how many files."""
    leftovers = list(directory.glob(f"{TEMPORARY_PREFIX}*"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)
