# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator's hooks: `published`, `moved`, `withdrawn`, `trouble` and `offered`, of one repository or of all here.

One repository's lie in ``gtfs/hooks`` in it, those of all in ``/etc/gtfs/hooks``, and those of one node, or of all of
a daemon, where ``-o hooks=`` says. All of them run, as the repository's owner. Any thread.
"""

from __future__ import annotations

import stat
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from gtfs.repo.hooks import Hook, HookFailed, Owner, log_run, named, run_program
from gtfs.repo.repository import Repository

MOVED: Final = "moved"
EVERYBODYS: Final = Path("/etc/gtfs/hooks")
_WRITTEN_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def find_event_hooks(repository: Repository, owner: Owner, event: str, directories: Sequence[Path]) -> list[Hook]:
    """The repository's own, everybody's, and those in ``directories``, as far as there is a file."""
    own = repository.layout.hooks / event
    found = [
        _look(Hook(f"{own.parent.parent.name}/{own.parent.name}/{event}", own), {owner.uid, 0}),
        _look(Hook(str(EVERYBODYS / event), EVERYBODYS / event), {0}),
    ]
    return [*(each for each in found if each is not None), *hooks_in(directories, owner, event)]


def hooks_in(directories: Sequence[Path], owner: Owner, event: str) -> list[Hook]:
    """Those that the node was told of besides; like the repository's own they are the owner's, or root's."""
    found = [_look(Hook(named(str(each / event)), each / event), {owner.uid, 0}) for each in directories]
    return [each for each in found if each is not None]


def everybodys_moved() -> list[Hook]:
    """The one of all repositories that hears of moved refs, beside those of the repository; if there is one."""
    found = _look(Hook(str(EVERYBODYS / MOVED), EVERYBODYS / MOVED), {0})
    return [] if found is None else [found]


def _look(hook: Hook, owners: set[int]) -> Hook | None:
    """Only a program that nobody but these users can have written, and nobody can put another in the place of."""
    try:
        found = [hook.path.stat(), hook.path.parent.stat()]
    except FileNotFoundError:
        return None
    except OSError as error:
        return replace(hook, wrong=f"cannot be looked at: {error.strerror}")
    if not stat.S_ISREG(found[0].st_mode):
        return replace(hook, wrong="is no file")
    if any(each.st_uid not in owners for each in found):
        return replace(hook, wrong="is not run: it, or its directory, belongs to another user")
    if any(each.st_mode & _WRITTEN_BY_OTHERS for each in found):
        return replace(hook, wrong=f"is not run, as others can write it: chmod go-w {hook.path.parent} {hook.path}")
    if not found[0].st_mode & 0o111:
        return replace(hook, wrong=f"is not executable: chmod +x {hook.path}")
    return hook


def run_event_hook(
    repository: Repository,
    owner: Owner,
    hook: Hook,
    words: Mapping[str, str],
    given: bytes,
    *,
    most_s: float,
    stop: Callable[[], bool],
) -> None:
    """Run a hook with ``words`` in its environment and ``given`` as its input, and log what it said.

    Raises `HookFailed` as `run_hook` does, and for one that is not to be run; OSError.
    """
    begun = time.monotonic()
    if hook.wrong is not None:
        raise HookFailed(f"{hook.name} {hook.wrong}")
    directory = repository.state_directory
    with tempfile.TemporaryFile(dir=directory) as out, tempfile.TemporaryFile(dir=directory) as stdin:
        stdin.write(given)
        stdin.seek(0)
        failed: HookFailed | None = None
        try:
            run_program(repository, owner, [bytes(hook.path)], stdin, out, begun + most_s, stop, words)
        except HookFailed as error:
            failed = HookFailed(f"{hook.name} {error}")
        came = f"{words['GTFS_EVENT']}, {time.monotonic() - begun:.1f} s, {failed or 'well'}"
        log_run(repository, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {hook.name}: {came}", out)
    if failed is not None:
        raise failed
