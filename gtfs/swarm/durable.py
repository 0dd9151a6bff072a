# SPDX-License-Identifier: GPL-3.0-or-later
"""The file work of the swarm: small files replaced whole, pieces read back, data put on the platter.

Blocking: called in threads only, never on the loop. Touches nothing but its arguments.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)


def replace_file(path: Path, data: bytes) -> None:
    """Write ``path`` so that a crash leaves the old contents or the new ones; its directory is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
            os.fchmod(out.fileno(), 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """fsync a directory, which makes renames in it durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """fsync a file that may not exist yet."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_small(path: Path, limit_bytes: int) -> bytes | None:
    """A whole file, or None if there is none or it is larger than ``limit_bytes``."""
    try:
        with path.open("rb") as source:
            data = source.read(limit_bytes + 1)
    except FileNotFoundError:
        return None
    return data if len(data) <= limit_bytes else None


def file_size(path: Path) -> int | None:
    """The size of a regular file, None if there is none."""
    return path.stat().st_size if path.is_file() else None


def read_at(path: Path, offset: int, length: int) -> bytes:
    """The bytes at ``offset``; fewer at the end of the file, none if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as source:
            return os.pread(source.fileno(), length, offset)
    except OSError as error:
        log.info("%s cannot be read: %s", path, error.strerror)
        return b""


def read_hashed(path: Path, offset: int, length: int, sha1: bytes) -> bytes | None:
    """The bytes at ``offset`` if they have this SHA-1, else None."""
    data = read_at(path, offset, length)
    return data if hashlib.sha1(data).digest() == sha1 else None
