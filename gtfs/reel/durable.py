# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole or absent after a power cut: directory fsync and atomic replacement. Any thread."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

TEMPORARY_PREFIX: Final = ".sealing-"  # swept at start by recover.sweep_temporaries


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable: renames and new files are lost without it."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def temporary_in(directory: Path) -> tuple[int, Path]:
    """A new empty file in ``directory`` open for writing, with the user's umask (web servers may read reels)."""
    path = directory / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), path


def replace_file(path: Path, data: bytes) -> None:
    """Give ``path`` these contents at once; durable after the caller's `sync_directory`."""
    fd, temporary = temporary_in(path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
