# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs umount``: unmount, and come back when the node has ended."""

from __future__ import annotations

import os
import select
from pathlib import Path

from gtfs.cli.ask import repository_of_mount
from gtfs.cli.terminal import complain
from gtfs.errors import Blame
from gtfs.layout import Layout
from gtfs.mount.mountpoint import MountpointError, detach, detach_dead, mounted_on
from gtfs.state.lock import lock_holder

_END_S = 30


def run(directory: Path, lazy: bool) -> int:
    """Unmount; 7 when the node does not end."""
    path = Path(os.path.realpath(directory))
    mounted = mounted_on(path)
    if mounted is None or not mounted.kind.startswith("fuse"):
        raise MountpointError(f"nothing of gtfs is mounted on {directory}: it is not mounted")
    if detach_dead(path):
        complain(f"detached the dead mount on {directory}: its process was gone")
        return 0
    repository = repository_of_mount(path)
    pid = lock_holder(Layout.in_repository(repository).lock) if repository else None
    detach(path, lazy=lazy)
    if pid and not lazy and not _wait_for_end(pid):
        complain(f"unmounted, but process {pid} has not ended after {_END_S} s; {_log_of(pid)}")
        return Blame.SYSTEM.exit_code
    return 0


def _log_of(pid: int) -> str:
    """Where a process says what it does."""
    try:
        log = str(Path(f"/proc/{pid}/fd/2").readlink())
    except OSError:
        log = os.devnull
    return "it writes no log (mount with -o logfile=FILE)" if log == os.devnull else f"see its log: {log}"


def _wait_for_end(pid: int) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], _END_S)[0])
    finally:
        os.close(fd)
