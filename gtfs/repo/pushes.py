# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushes by plain git to refs that follow a catalogue: refused by an update hook, which names the place to push to.

The hook is installed only where there is none; it reads ``$GIT_DIR/gtfs/followed``: ``# PLACE``, then the refs, one
a line. Any thread; one writer.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable
from typing import Final

from gtfs.durable import replace_file
from gtfs.repo.repository import Repository

log = logging.getLogger(__name__)


_HOOK: Final = "update"
_WRITING: Final = ".gtfs-update"
_SCRIPT: Final = b"""\
#!/bin/sh
# Made by gtfs, see gtfs(1), "Pushes to a mirror". It may be changed or removed: gtfs makes it only where there is none.
followed=gtfs/followed
if LC_ALL=C grep -qxF -e "$1" "$followed" 2>/dev/null; then
    echo "gtfs: $1 follows $(sed -n '1s/^# //p' "$followed"); push to its publisher" >&2
    exit 1
fi
"""


def refuse_pushes(repository: Repository, names: Iterable[bytes], place: str) -> None:
    """Let pushes to these refs be refused from now on; raises OSError for the list, never for the hook."""
    words = " ".join(place.split()).encode("utf-8", "surrogateescape")
    text = b"# " + words + b"\n" + b"".join(name + b"\n" for name in sorted(names))
    path = repository.layout.followed
    if not path.exists() or path.read_bytes() != text:
        replace_file(path, text)
    try:
        _install(repository)
    except OSError as error:
        log.info("no update hook could be made in %s: %s", repository.path, error.strerror)


def _install(repository: Repository) -> None:
    with contextlib.suppress(FileExistsError):
        repository.layout.git_hooks.mkdir()
    # hooks may be somebody's link to hooks of many repositories: then it is not ours to put one there.
    directory = os.open(repository.layout.git_hooks, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.stat(_HOOK, dir_fd=directory, follow_symlinks=False)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_WRITING, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(_WRITING, flags, 0o700, dir_fd=directory), "wb") as file:
                file.write(_SCRIPT)
                os.fchmod(file.fileno(), 0o755)
            # A link, and no rename: what came meanwhile stays.
            os.link(_WRITING, _HOOK, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            os.unlink(_WRITING, dir_fd=directory)
    finally:
        os.close(directory)
