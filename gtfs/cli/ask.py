# SPDX-License-Identifier: GPL-3.0-or-later
"""From a REPO or SOURCE as users write it to the node that runs there, and what that answers. Main thread.

This is nearly all of a command that a node does, so it starts no process and imports next to nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from gtfs.layout import Layout
from gtfs.mount.mountpoint import is_dead
from gtfs.repo.place import BadRepository, git_dir_at
from gtfs.state.control import Tell, ask_node, is_answered
from gtfs.state.lock import Busy, is_node_there

T = TypeVar("T")
_BEGINS_S: Final = 60.0  # a node has its repository for as long before it answers, and after, while it ends
_LOOK_S: Final = 0.05


def repository_of_mount(directory: Path) -> Path | None:
    """The backing repository of a mounted directory, None for any other directory."""
    if not os.path.ismount(directory):  # what lies in a plain directory is anybody's word
        return None
    try:
        status = json.loads((directory / ".gtfs" / "status").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    repository = status.get("repository") if isinstance(status, dict) else None
    return Path(repository) if isinstance(repository, str) else None


def place_at(path: Path) -> Path:
    """Where the repository at a path, or behind the mount there, should be; git is not asked about it.

    Raises `BadRepository` for what cannot be one.
    """
    if is_dead(path):
        raise BadRepository(f"{path} is a dead mount, its process is gone: gtfs umount {path} takes it away")
    mounted = repository_of_mount(path)
    if mounted is None and path.is_dir() and not any((path / name).exists() for name in ("objects", ".git")):
        raise BadRepository(f"nothing is mounted on {path}, and it is no git repository")
    return mounted or git_dir_at(path)


def ask(
    place: Path,
    request: Mapping[str, object],
    tell: Tell = lambda _p: None,
    on_wait: Callable[[], None] = lambda: None,
    timeout_s: float | None = None,
) -> dict[str, Any] | None:
    """What the node answers that runs on the repository at ``place``, None when none does.

    Raises `BadRepository` for one of another owner that git would not touch, and what `ask_node` raises.
    """
    if not place.is_dir():
        return None
    if not _is_ours(place):
        from gtfs.repo.repository import open_repository

        place = open_repository(place).path
    return ask_node(Layout.in_repository(place).root, request, tell, on_wait, timeout_s)


def by_node_or_here(by_node: Callable[[], T | None], here: Callable[[], T], within_s: float = _BEGINS_S) -> T:
    """What the running node answers, else what is done here; one that begins or ends just now is waited for.

    Raises `Busy` for a command that has the repository, and what both raise.
    """
    end_s = time.monotonic() + within_s
    while True:
        answer = by_node()
        if answer is not None:
            return answer
        try:
            return here()
        except Busy as e:
            if not e.is_node or time.monotonic() > end_s:
                raise
            lock = e.path
        time.sleep(_LOOK_S)
        wait_for_node(lock, end_s - time.monotonic())


def wait_for_node(lock: Path, within_s: float = _BEGINS_S) -> None:
    """Return when no node has this lock that begins or ends just now, but one that answers or none; or too late."""
    end_s = time.monotonic() + within_s
    while is_node_there(lock) and not is_answered(lock.parent) and time.monotonic() < end_s:
        time.sleep(_LOOK_S)


def foretell(place: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What ``request`` would do there, by the running node if there is one; nothing is done."""

    def here() -> dict[str, Any]:
        from gtfs.cli.work.dryrun import run

        return run(place, request)

    return by_node_or_here(lambda: ask(place, {"do": "dry_run", "of": request}), here)


def _is_ours(place: Path) -> bool:
    """Whether git has nothing to say against the owner: safe.directory is asked only about what is somebody else's."""
    try:
        return place.stat().st_uid == os.geteuid()
    except OSError:
        return False
