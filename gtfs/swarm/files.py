# SPDX-License-Identifier: GPL-3.0-or-later
"""The file work of the swarm: small files and pieces read back.

Blocking: called in threads only, never on the loop. Touches nothing but its arguments.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from gtfs.durable import replace_file, sync_file
from gtfs.swarm.spec import TorrentSpec

log = logging.getLogger(__name__)


def read_small(path: Path, limit_bytes: int) -> bytes | None:
    """A whole file, or None if there is none or it is larger than ``limit_bytes``."""
    try:
        with path.open("rb") as source:
            data = source.read(limit_bytes + 1)
    except FileNotFoundError:
        return None
    return data if len(data) <= limit_bytes else None


def keep_resume(spec: TorrentSpec, resume: bytes) -> None:
    """Keep resume data; raises OSError."""
    if spec.path.exists():  # something came
        # The data before what vouches for it: resume data must not promise pieces that a power cut can take.
        sync_file(spec.path)
    spec.resume.parent.mkdir(parents=True, exist_ok=True)
    replace_file(spec.resume, resume)


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
