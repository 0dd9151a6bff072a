# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``post-receive`` hook that publishes what was pushed where no node runs; the hook that was there is called first.

Nothing of anybody's is overwritten, and all of it comes back when the hook is removed. Any thread.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gtfs.durable import temporary_in
from gtfs.errors import Blame, GtfsError
from gtfs.repo.hooks import git_hooks_of, owner_of
from gtfs.repo.repository import Repository

_HOOK: Final = "post-receive"
_CHAINED: Final = "post-receive.gtfs-chained"
_MARK: Final = "# Made by gtfs init --hook"
_SCRIPT: Final = """\
#!/bin/sh
{mark}, see gtfs(1), publish; gtfs init --no-hook takes it away again.
# The hook that was here before is {chained}: it runs first, as git runs a hook.
status=0
if [ -x "${{0%/*}}/{chained}" ]; then
    "${{0%/*}}/{chained}" "$@" || status=$?
fi
PATH="$PATH":{directory}
gtfs publish --pushed . </dev/null || :
exit $status
"""


class BadHook(GtfsError):
    """The hook cannot be made, or taken away, without harm to somebody's; the text says what to do."""

    fault = Blame.SOURCE


def install_hook(repository: Repository) -> None:
    """Make it, or make it anew; raises `BadHook`, OSError."""
    with _hooks(repository) as (path, directory):
        if _has(_HOOK, directory) and not _is_ours(directory):
            try:
                os.link(_HOOK, _CHAINED, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
            except FileExistsError:
                if not _is_same(directory):  # else it was linked by one who was killed then
                    raise BadHook(f"{path / _CHAINED} is there already; move it away, or {path / _HOOK}") from None
        fd, temporary = temporary_in(path, 0o755)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(_script())
                file.flush()
                os.fchmod(file.fileno(), 0o755)
                os.fsync(file.fileno())
            temporary.replace(path / _HOOK)
        finally:
            temporary.unlink(missing_ok=True)
        os.fsync(directory)


def remove_hook(repository: Repository) -> None:
    """Take it away, and put back what was there before; nothing happens where it is not. Raises `BadHook`, OSError."""
    with _hooks(repository) as (path, directory):
        if not _is_ours(directory):
            return
        if _has(_CHAINED, directory):
            (path / _CHAINED).replace(path / _HOOK)
        else:
            (path / _HOOK).unlink()
        os.fsync(directory)


@contextmanager
def _hooks(repository: Repository) -> Iterator[tuple[Path, int]]:
    """The directory where git looks for hooks of this repository alone, also by descriptor."""
    path = repository.layout.git_hooks
    elsewhere = git_hooks_of(repository, owner_of(repository))
    if elsewhere != path:
        raise BadHook(
            f"{repository.path} has its hooks in {elsewhere} (core.hooksPath); let the post-receive hook "
            f"there run: gtfs publish --pushed {repository.path}"
        )
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except NotADirectoryError:  # open(2): so it is for a link, too
        raise BadHook(
            f"{path} is a link, so its hooks may be those of many repositories; let the post-receive hook there run: "
            "gtfs publish --pushed ."
        ) from None
    try:
        yield path, fd
    finally:
        os.close(fd)


def _has(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_ours(directory: int) -> bool:
    try:
        fd = os.open(_HOOK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return False
    with open(fd, "rb") as file:
        return any(line.startswith(_MARK.encode()) for line in file.read(4096).splitlines())


def _is_same(directory: int) -> bool:
    one, two = (os.stat(name, dir_fd=directory, follow_symlinks=False) for name in (_HOOK, _CHAINED))
    return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)


def _script() -> str:
    """With the place of this gtfs, which a session of sshd need not have in its PATH."""
    found = shutil.which("gtfs")
    program = Path(found) if found is not None else Path(sys.executable).with_name("gtfs")
    return _SCRIPT.format(mark=_MARK, chained=_CHAINED, directory=shlex.quote(str(program.absolute().parent)))
