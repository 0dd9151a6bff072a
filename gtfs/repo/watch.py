# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether refs may have moved, from a few ``stat`` calls and without a process, so that one can ask every second.

git moves a ref by renaming a lock file over it, which touches the ref's directory; packed-refs and reftable's list are
replaced as a whole (gitrepository-layout(5), git-pack-refs(1)). Any thread.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from gtfs.repo.repository import Repository

_RACY_NS: Final = 2_000_000_000  # a change this young may be followed by another in the same tick of the clock
_FILES: Final = ("HEAD", "packed-refs", "reftable/tables.list")


class RefsWatch:
    """Remembers what the files of refs looked like at the last look."""

    def __init__(self, repository: Repository) -> None:
        self._path = repository.path
        self._seen: tuple[tuple[str, int, int, int], ...] | None = None
        self._is_old = False
        self.directories: tuple[Path, ...] = ()  # in which a ref that moves is a change, as of the last look

    def changed(self) -> bool:
        """Whether refs may have moved since the last call; True at the first. Raises OSError."""
        found = tuple(self._look())
        if found == self._seen and self._is_old:
            return False
        self._seen = found
        newest_ns = max((mtime_ns for _, _, _, mtime_ns in found), default=0)
        self._is_old = time.time_ns() - newest_ns > _RACY_NS
        return True

    def _look(self) -> list[tuple[str, int, int, int]]:
        found = []
        todo = [self._path / "refs"]
        directories = [self._path]  # that of HEAD and packed-refs
        paths = [self._path / name for name in _FILES]
        reftables = paths[-1]
        while todo:
            directory = todo.pop()
            paths.append(directory)
            try:
                with os.scandir(directory) as entries:
                    todo += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
            except FileNotFoundError:
                continue  # git removes directories that become empty
            directories.append(directory)
        for path in paths:
            try:
                st = path.stat()
            except FileNotFoundError:
                continue
            found.append((str(path), st.st_ino, st.st_size, st.st_mtime_ns))
            if path == reftables:
                directories.append(path.parent)
        self.directories = tuple(directories)
        return found
