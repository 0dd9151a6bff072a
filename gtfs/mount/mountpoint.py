# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory to mount on: whether it will do, and what is mounted there. Blocking, but for `mounted_on`.

Reads /proc/self/mountinfo (proc_pid_mountinfo(5)) rather than asking the file system: a ``stat`` of one's own mount
from the loop that serves it would wait for itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.errors import Blame, GtfsError

FUSE_TYPE: Final = "fuse.gtfs"
MOUNTINFO: Final = Path("/proc/self/mountinfo")
_CONNECTIONS: Final = Path("/sys/fs/fuse/connections")
_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_READ_AHEAD_KIB: Final = 512
BACKGROUND: Final = 512  # requests that the kernel may have under way in the background, reading ahead above all
REQUESTS: Final = 3 * BACKGROUND  # that are answered at once


class MountpointError(GtfsError):
    """It cannot be mounted there; the text says what to do."""

    fault = Blame.SYSTEM


class Mounted(NamedTuple):
    """One line of mountinfo."""

    mount_id: int
    device: str  # major:minor
    path: bytes
    kind: str


def mounts() -> list[Mounted]:
    """The table of mounts. Raises OSError."""
    found = []
    for line in MOUNTINFO.read_bytes().splitlines():
        fields = line.split(b" ")
        path = _ESCAPE.sub(lambda m: bytes([int(m[1], 8)]), fields[4])
        kind = fields[fields.index(b"-", 6) + 1].decode("ascii", "replace")
        found.append(Mounted(int(fields[0]), fields[2].decode("ascii"), path, kind))
    return found


def mounted_on(path: Path) -> Mounted | None:
    """What is mounted on exactly this directory (the topmost, if several), without touching it."""
    wanted = os.path.normpath(os.fsencode(Path.cwd() / path))
    return next((m for m in reversed(mounts()) if m.path == wanted), None)


def is_dead(path: Path) -> bool:
    """Whether what is mounted there has lost its process, so that nothing can be asked of it but to go."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def detach(path: Path, *, lazy: bool) -> None:
    """Unmount as fusermount3 does, which lets users unmount what is theirs; raises `MountpointError` with its reason.

    ``lazy`` takes it from the directory at once, however much of it is in use.
    """
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise MountpointError("there is no fusermount3: install fuse3") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else f"fusermount3 ended with {done.returncode}"
        hint = " (a program uses it: see fuser -m, or gtfs umount --lazy)" if "busy" in reason else ""
        raise MountpointError(f"cannot unmount {path}: {reason}{hint}")


def detach_dead(path: Path) -> bool:
    """Take away a mount of ours whose process was killed; False if there is none. Raises `MountpointError`."""
    path = Path(os.path.realpath(path))
    found = mounted_on(path)
    if found is None or found.kind != FUSE_TYPE or not is_dead(path):
        return False
    detach(path, lazy=True)
    return True


def check_mountpoint(path: Path) -> Path:
    """The absolute path to mount on, symbolic links resolved; raises `MountpointError` with the way out."""
    try:
        path = Path(os.path.realpath(path))  # unlike Path.resolve it asks nothing of a dead mount itself
        found = mounted_on(path)
        used = any(path.iterdir())  # also finds a file system whose process is gone
    except OSError as error:
        if error.errno in (errno.ENOTCONN, errno.ECONNABORTED):
            raise MountpointError(
                f"{path} is a dead mount (its process is gone): run fusermount3 -u {path}, then try again"
            ) from None
        if error.errno == errno.ENOENT:
            raise MountpointError(f"mount point {path} does not exist: make it with mkdir {path}") from None
        if error.errno == errno.ENOTDIR:
            raise MountpointError(f"mount point {path} is not a directory") from None
        raise MountpointError(f"mount point {path} cannot be used: {error.strerror}") from None
    if found is not None and found.kind.startswith("fuse"):
        raise MountpointError(f"{path} is already mounted ({found.kind}): run umount {path} first")
    if used:
        raise MountpointError(f"mount point {path} is not empty: its files would be hidden")
    return path


def read_further_ahead(mounted: Mounted) -> None:
    """Let the kernel ask for more at a time than 128 KiB when it reads ahead. Best effort: only root may."""
    with contextlib.suppress(OSError):
        Path(f"/sys/class/bdi/{mounted.device}/read_ahead_kb").write_text(str(_READ_AHEAD_KIB))


def allow_background(mounted: Mounted) -> None:
    """Let more reads wait at once than the 12 that the kernel allows by default.

    All reading goes through the kernel's read-ahead, so a dozen reads that wait for a slow peer would stop every
    other one. Best effort: without the fusectl file system, or the right to write there, the default stays.
    """
    directory = _CONNECTIONS / mounted.device.partition(":")[2]
    with contextlib.suppress(OSError):
        (directory / "max_background").write_text(str(BACKGROUND))
        (directory / "congestion_threshold").write_text(str(BACKGROUND * 3 // 4))
