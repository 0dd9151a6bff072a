# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushes by plain git to refs that follow a catalogue: refused by an update hook, which names the place to push to.

The hook is installed only where there is none, or an empty one; it reads ``$GIT_DIR/gtfs/followed``: ``# PLACE``,
``# push to URL`` if the catalogue or the mirror's settings name one, then the refs, one a line. Any thread; one writer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
from collections.abc import Iterable
from typing import Final

from gtfs.durable import replace_file
from gtfs.layout import Layout
from gtfs.repo.repository import Repository

log = logging.getLogger(__name__)


_HOOK: Final = "update"
_WRITING: Final = ".gtfs-update"
_OTHERS: Final = b"?"
_PUSH_TO: Final = re.compile(r"# push to (.*)")
_HEAD: Final = b"""\
#!/bin/sh
# Made by gtfs, see gtfs(1), "Pushes to a mirror". It may be changed or removed: gtfs makes it only where there is none.
followed=gtfs/followed
if LC_ALL=C grep -qxF -e "$1" "$followed" 2>/dev/null; then
"""
_SCRIPT: Final = (
    _HEAD
    + b"""\
    where=$(sed -n '2s/^# push to //p' "$followed")
    echo "gtfs: $1 follows $(sed -n '1s/^# //p' "$followed"); push to ${where:-its publisher}${where:+ instead}, or \
offer it: gtfs offer" >&2
    exit 1
fi
"""
)
_BEFORE: Final = (  # of versions that knew no place to push to
    _HEAD
    + b"""\
    echo "gtfs: $1 follows $(sed -n '1s/^# //p' "$followed"); push to its publisher" >&2
    exit 1
fi
"""
)


def refuse_pushes(repository: Repository, names: Iterable[bytes], place: str, push_url: str | None) -> None:
    """Let pushes to these refs be refused from now on; raises OSError for the list, never for the hook.

    ``push_url``: where they are welcome, as far as that is known.
    """
    words = " ".join(place.split()).encode("utf-8", "surrogateescape")
    head = b"# " + words + b"\n" + (b"" if push_url is None else b"# push to " + push_url.encode() + b"\n")
    text = head + b"".join(name + b"\n" for name in sorted(names))
    path = repository.layout.followed
    if not path.exists() or path.read_bytes() != text:
        replace_file(path, text)
    try:
        _install(repository)
    except OSError as error:
        log.info("no update hook could be made in %s: %s", repository.path, error.strerror)


def push_advice(layout: Layout) -> str | None:
    """What pushes are told where a catalogue is followed, as the hook does; None where none is. Raises OSError."""
    try:
        with layout.followed.open("rb") as file:
            place, where = (os.fsdecode(file.readline().strip()) for _ in range(2))
    except FileNotFoundError:
        return None
    said = _PUSH_TO.fullmatch(where)
    advice = f"push to {said[1]} instead" if said else "push to its publisher"
    return f"follows {place.removeprefix('# ')}; {advice}, or offer it: gtfs offer"


def _install(repository: Repository) -> None:
    with contextlib.suppress(FileExistsError):
        repository.layout.git_hooks.mkdir()
    # hooks may be somebody's link to hooks of many repositories: then it is not ours to put one there.
    directory = os.open(repository.layout.git_hooks, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        there = _read(directory)
        if there is not None and there != _BEFORE and there.strip(b"\0"):
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_WRITING, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(_WRITING, flags, 0o700, dir_fd=directory), "wb") as file:
                file.write(_SCRIPT)
                file.flush()
                os.fchmod(file.fileno(), 0o755)
                os.fsync(file.fileno())  # half of it, or none, would refuse no push, and would be somebody's own
            if there is not None:
                os.replace(_WRITING, _HOOK, src_dir_fd=directory, dst_dir_fd=directory)
            else:  # a link, and no rename: what came meanwhile stays
                os.link(_WRITING, _HOOK, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_WRITING, dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(directory: int) -> bytes | None:
    """The hook that is there: nothing, or zeros, is what a power cut left of one; `_OTHERS` for what is no file."""
    try:
        fd = os.open(_HOOK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError:  # a link, or not ours to read: it is somebody's
        return _OTHERS
    with os.fdopen(fd, "rb") as file:
        return file.read(len(_BEFORE) + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else _OTHERS
