# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the machine a git child may take that reads what came from elsewhere, and whether one that ended badly
says something about what it read or about the machine. Any thread.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Sequence
from typing import Final

from gtfs.pack.limits import GIB, MIB
from gtfs.repo.repository import WINDOW_SETTINGS, GitFailed, Repository

_BASE_BYTES: Final = GIB  # git itself, its windows into packs, its cache of bases and the stacks of its threads
_HELD_AT_ONCE: Final = 4  # a base, a delta, its result, and one that is being compressed
_LEAST_HELD: Final = 256 * MIB  # a base may be larger than what is made of it
_STREAMED: Final = 32 * MIB  # whole blobs that are larger pass through git piece by piece
_MAPPED_WHOLE: Final = (".idx", ".rev", ".bitmap")
_INDEXES: Final = 2  # a multi-pack-index, which may come while git is at work, is as large as all packs' own together
_THREADS: Final = 4  # each reserves address space

_CPU_BASE_S: Final = 60
_CPU_BYTES_PER_S: Final = MIB

_FULL: Final = b"no space left on device"
# What git says when it is not the objects that are at fault (wrapper.c, packfile.c, run-command.c, strerror(3)).
_FAULTS_OF_THE_MACHINE: Final = (
    b"out of memory", b"cannot allocate memory", b"mmap failed", b"cannot be mapped", b"unable to create thread",
    b"unable to mmap", b"too many open files", b"input/output error", b"disk quota exceeded", b"read-only file system",
    b"permission denied", b"resource temporarily unavailable", b"file too large", b"unable to fork",
)  # fmt: skip


def memory_bytes(repository: Repository, largest_bytes: int) -> int:
    """The address space that git may take to let in objects of which it has to hold at most ``largest_bytes``: those
    that are deltas, and all but blobs. It maps the index of every pack that is there, and one over all."""
    return _BASE_BYTES + _HELD_AT_ONCE * max(_LEAST_HELD, largest_bytes) + _mapped_bytes(repository)


def _mapped_bytes(repository: Repository) -> int:
    total = 0
    for directory in repository.object_directories():
        try:
            with os.scandir(directory / "pack") as entries:
                for entry in entries:
                    if entry.name.endswith(_MAPPED_WHOLE):
                        total += entry.stat().st_size * (_INDEXES if entry.name.endswith(".idx") else 1)
        except FileNotFoundError:
            continue  # nothing packed, or just repacked: there is room for small indexes
    return total


def index_pack_command(repository: Repository, arguments: Sequence[str], memory: int, pack_bytes: int) -> list[str]:
    """The argument vector of an index-pack under limits: of its own, or of this process where those are lower."""
    git = repository.command(
        *WINDOW_SETTINGS, "-c", f"core.bigFileThreshold={_STREAMED}",
        "index-pack", f"--threads={min(_THREADS, os.cpu_count() or 1)}", *arguments,
    )  # fmt: skip
    address_space = _within(resource.RLIMIT_AS, memory)
    cpu_s = _within(resource.RLIMIT_CPU, _CPU_BASE_S + pack_bytes // _CPU_BYTES_PER_S)
    return ["prlimit", f"--as={address_space}", f"--cpu={cpu_s}", "--core=0", *git]


def _within(what: int, wanted: int) -> int:
    """A limit that may be set: only root may raise a hard one, and a soft one was meant for all that we start."""
    return min(wanted, *(limit for limit in resource.getrlimit(what) if limit != resource.RLIM_INFINITY), wanted)


def machine_fault(command: str, status: int, said: bytes) -> OSError | GitFailed | None:
    """The error to raise if a child ended for want of memory, disk, time or permission, or was killed; None if what it
    read is to blame."""
    # Lines about objects begin otherwise, and may quote them.
    own = b"\n".join(line for line in said.lower().splitlines() if line.startswith((b"fatal: ", b"error: ")))
    if _FULL in own:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if status < 0 or not said.strip() or any(fault in own for fault in _FAULTS_OF_THE_MACHINE):
        return GitFailed([command], status, said)
    return None
