# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs umount``: unmount, and come back when the node has ended."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

from gtfs.cli.ask import ask, repository_of_mount
from gtfs.cli.terminal import bar, complain
from gtfs.errors import Blame, GtfsError
from gtfs.layout import Layout
from gtfs.mount.mountpoint import FUSE_TYPE, MountpointError, detach, detach_dead, mounted_on
from gtfs.state.control import Tell
from gtfs.state.lock import lock_holder

_END_S = 30


def run(directory: Path, lazy: bool, *, no_wait: bool) -> int:
    """Unmount; 7 when the node does not end."""
    path = Path(os.path.realpath(directory))
    mounted = mounted_on(path)
    if mounted is None or mounted.kind != FUSE_TYPE:
        what = "it is not mounted" if mounted is None else f"it is {mounted.kind}, and umount {directory} takes it away"
        raise MountpointError(f"nothing of gtfs is mounted on {directory}: {what}")
    if detach_dead(path):
        complain(f"detached the dead mount on {directory}: its process was gone")
        return 0
    repository = repository_of_mount(path)
    pid = lock_holder(Layout.in_repository(repository).lock) if repository else None
    if repository is not None and not lazy:
        _tell_left(repository, _left_in(repository) if no_wait else _drain(repository))
    log = _log_of(pid) if pid else ""
    detach(path, lazy=lazy)
    if pid and not lazy and not _wait_for_end(pid):
        complain(f"unmounted, but process {pid} has not ended after {_END_S} s; {log}")
        return Blame.SYSTEM.exit_code
    return 0


def _drain(repository: Path) -> dict[str, Any]:
    """What is left of the queue of written packs after waiting for it, as the status has it."""
    with bar("taking in") as show:
        most = 0

        def tell(progress: dict[str, Any]) -> None:
            nonlocal most
            most = max(most, progress["queued"])
            show(most - progress["queued"], most, f"{progress['queued']} written packs left")

        return _asked(repository, {"do": "drain"}, tell)


def _left_in(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = _asked(repository, {"do": "status"}, lambda _: None).get("incoming", {})
    return found


def _asked(repository: Path, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """What the node says; nothing of one that is older, ends or cannot be asked: it is unmounted all the same."""
    try:
        return ask(repository, request, tell) or {}
    except (GtfsError, OSError):
        return {}


def _tell_left(repository: Path, left: dict[str, Any]) -> None:
    queued = left.get("queued", 0)
    if queued:
        packs = f"{queued} written packs are" if queued > 1 else "1 written pack is"
        why = f" ({left['error']})" if left.get("error") else ""
        incoming = Layout.in_repository(repository).incoming
        complain(f"{packs} still queued{why}: kept in {incoming}, and taken in by the next node of {repository}")


def _log_of(pid: int) -> str:
    """Where a process says what it does."""
    try:
        log = str(Path(f"/proc/{pid}/fd/2").readlink())
    except OSError:
        log = os.devnull
    return "it writes no log" if log == os.devnull else f"see its log: {log}"


def _wait_for_end(pid: int) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], _END_S)[0])
    finally:
        os.close(fd)
