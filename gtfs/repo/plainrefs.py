# SPDX-License-Identifier: GPL-3.0-or-later
"""The refs of a small repository read without a process, where nothing in their files could be read in two ways.

Two milliseconds of git for each look are much where a daemon has a thousand repositories. Whatever is not as plain as
git itself writes it, and all that is long, is git's to read: then there is None. Any thread.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from gtfs.ids import ObjectId
from gtfs.repo.repository import Repository, may_say

_FEW: Final = 64  # files of single refs; git reads many faster than this does
_PACKED_BYTES: Final = 64 << 10  # of packed-refs, some 1,000
_FILE_BYTES: Final = 1024
_HEADER: Final = b"# pack-refs with:"
_COMPONENT = rb"[A-Za-z0-9_-](?:[A-Za-z0-9_+-]|\.(?!\.|/|\Z))*"
_NAME = re.compile(rb"refs(?:/%b)+\Z" % _COMPONENT)
_BRANCH = re.compile(rb"ref: (refs/heads(?:/%b)+)\n\Z" % _COMPONENT)
_LOCK: Final = b".lock"
_NOBODY: Final = b"0"  # all digits of an id that names nothing


def read_plain(repository: Repository) -> dict[bytes, ObjectId] | None:
    """Where every ref stands, sorted by name, as ``git for-each-ref`` has it; None: git is to be asked."""
    path = repository.path
    if os.path.lexists(path / "commondir") or os.path.lexists(path / "reftable") or may_say(repository, b"refstorage"):
        return None
    digits = 2 * repository.fmt.oid_bytes
    try:
        # As git: first single files, then the packed ones, so that what is being packed is seen in either.
        found = _files(path, digits)
        packed = None if found is None else _packed(path / "packed-refs", digits)
    except OSError:
        return None
    if found is None or packed is None:
        return None
    both = {**packed, **found}
    if any(len(name) > _FILE_BYTES or name.endswith(_LOCK) or _LOCK + b"/" in name for name in both):
        return None
    ids = {word: ObjectId(bytes.fromhex(word.decode())) for word in set(both.values())}
    return {name: ids[both[name]] for name in sorted(both)}


def read_plain_head(repository: Repository) -> bytes | None:
    """The branch that HEAD names, whether it is there or not; None: git is to be asked."""
    try:
        text = _contents(repository.path / "HEAD")
    except OSError:
        return None
    match = None if text is None else _BRANCH.match(text)
    return None if match is None or match[1].endswith(_LOCK) or _LOCK + b"/" in match[1] else match[1]


def _contents(path: Path) -> bytes | None:
    """Of a regular file that is short; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        data = os.read(fd, _FILE_BYTES + 1)
        return data if stat.S_ISREG(os.fstat(fd).st_mode) and len(data) <= _FILE_BYTES else None
    finally:
        os.close(fd)


def _files(path: Path, digits: int) -> dict[bytes, bytes] | None:
    """What single files say; raises OSError."""
    an_id = re.compile(rb"([0-9a-f]{%d})\n\Z" % digits)
    found: dict[bytes, bytes] = {}
    waiting = [b"refs"]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(os.fsencode(path / os.fsdecode(below))) as entries:
                listed = list(entries)
        except FileNotFoundError:
            if below == b"refs":
                return None
            continue  # git removes directories that become empty
        for entry in listed:
            name = below + b"/" + entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
                continue
            if entry.name.endswith(_LOCK):
                continue
            if not entry.is_file(follow_symlinks=False) or not _NAME.match(name) or len(found) >= _FEW:
                return None
            try:
                match = an_id.match(_contents(path / os.fsdecode(name)) or b"")
            except FileNotFoundError:
                continue  # packed meanwhile, or gone
            if match is None or not match[1].strip(_NOBODY):
                return None
            found[name] = match[1]
        if len(waiting) > _FEW:
            return None
    return found


def _packed(path: Path, digits: int) -> dict[bytes, bytes] | None:
    """What the file of many says; raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        data = file.read(_PACKED_BYTES + 1)
    if len(data) > _PACKED_BYTES or (data and not data.endswith(b"\n")):
        return None
    lines = data.split(b"\n")[:-1]
    if lines and lines[0].startswith(_HEADER):
        del lines[0]
    row = re.compile(rb"([0-9a-f]{%d}) (refs/.*)\Z" % digits)
    peeled = re.compile(rb"\^[0-9a-f]{%d}\Z" % digits)
    found: dict[bytes, bytes] = {}
    for number, line in enumerate(lines):
        if number and peeled.match(line):
            continue
        match = row.match(line)
        if match is None or not _NAME.match(match[2]) or match[2] in found or not match[1].strip(_NOBODY):
            return None
        found[match[2]] = match[1]
    return found
