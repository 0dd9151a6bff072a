# SPDX-License-Identifier: GPL-3.0-or-later
"""Repacks when git packs have become many, as `git gc --auto` would: every batch that is let in leaves one, and each
git process looks at them all.

This is `git repack -d --geometric=2` with five differences: what is written is in a quarantine, so that a kill leaves
nothing in the object store; the directory is synced before an old pack goes; only the repository's own packs are
taken, which git 2.39 does not heed where there are alternates; no pack becomes so large by it that memory is short; and
git sees nothing but what becomes one, as else it reads every commit of the history for names to go by.
Every object of the packs stays, whether a ref reaches it or not. There is no lock: who reads or adds packs meanwhile
goes on, as git and `known.KnownObjects` look again for what they miss. One thread at a time for one repository.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.counted import counted
from gtfs.repo.moving import LOCK
from gtfs.repo.repository import GitFailed, Repository, git_environment
from gtfs.repo.unpack import publish_packs

log = logging.getLogger(__name__)


# So many times the packs that git would let be are a reason also where somebody waits: a multi-pack-index leads through
# fewer, and to write those of a first sync again took a third of the sync. More cost descriptors and looks at names.
MANY_TIMES: Final = 40
_FACTOR: Final = 2  # each pack that is left has at least as many times the bytes of the next smaller one
_WINDOW_MEMORY: Final = "128m"  # of objects among which a delta is sought
_MAPPED: Final = ("-c", "core.packedGitWindowSize=1m", "-c", "core.packedGitLimit=32m")  # it goes through them once
_MOST: Final = 1_000_000  # objects in what is made; git needs some 300 bytes of memory each
_INDEX_BYTES: Final = 28  # at least, of an object in a pack's index
_STOP_POLL_S: Final = 0.1
_LEFT_ALONE: Final = (".keep", ".mtimes")  # what somebody protects; what git gc is to throw away one day


class Repacked(NamedTuple):
    """File names of packs: those that went, and the ones that have all of their objects."""

    gone: list[str]
    made: list[str]


class _Pack(NamedTuple):
    stem: Path  # without a suffix
    size: int  # bytes
    index_bytes: int

    @property
    def name(self) -> str:
        return self.stem.name + ".pack"

    @property
    def objects(self) -> int:
        """About."""
        return self.index_bytes // _INDEX_BYTES


def sweep_repacking(repository: Repository) -> None:
    """Drop what a crash left of a repack."""
    shutil.rmtree(repository.layout.repacking, ignore_errors=True)


def repack(repository: Repository, stop: Callable[[], bool] = lambda: False, *, times: int = 1) -> Repacked | None:
    """Make one of the small packs if there are more than git would let be; gives what came of it, often nothing.

    ``times`` as many are let be: `MANY_TIMES` where somebody waits. Raises `GitFailed`, OSError (a full disk); then,
    and after ``stop``, nothing has changed.
    """
    packs = _own_packs(repository)
    # Of a partial clone, git wants to know what came as promised: such packs do not go together with others.
    if len(packs) < 2 or repository.is_partial():
        return None
    if not _is_many(repository, len(packs) / times):
        return None
    small = packs[: choose([pack.size for pack in packs[: _few(packs)]])]
    quarantine = repository.layout.repacking
    sweep_repacking(repository)
    made = quarantine / "pack"
    quarantine.mkdir(mode=0o700)
    made.mkdir()
    try:
        if not small or not _pack(repository, small, quarantine, stop):
            return None
        stems = {file.stem for file in made.iterdir()}
        publish_packs(made, repository.objects / "pack")
    finally:
        sweep_repacking(repository)
    gone = [pack for pack in small if pack.stem.name not in stems]
    _remove(gone)
    what = counted(len(small), "git pack")
    log.info("%s of %d bytes became %d", what, sum(pack.size for pack in small), len(stems))
    return Repacked([pack.name for pack in gone], [f"{stem}.pack" for stem in stems])


def choose(sizes: Sequence[int]) -> int:
    """How many of these, which ascend, become one, so that each that is left has twice the size of the next smaller.

    So a byte is written again only into a pack at least half as large again as the one that it was in.
    """
    count = len(sizes)
    while count > 1 and sizes[count - 1] >= _FACTOR * sizes[count - 2]:
        count -= 1
    if count < 2:
        return 0
    while count < len(sizes) and sizes[count] < _FACTOR * sum(sizes[:count]):
        count += 1
    return count


def _few(packs: Sequence[_Pack]) -> int:
    """How many of these, from the first, have no more objects together than one pack shall get."""
    return bisect_right(list(accumulate(pack.objects for pack in packs)), _MOST)


def _own_packs(repository: Repository) -> list[_Pack]:
    """Those that may be repacked, the smallest first."""
    try:
        files = {file.name: file for file in (repository.objects / "pack").iterdir()}
    except FileNotFoundError:
        return []
    packs = []
    for name, file in files.items():
        stem = name.removesuffix(".idx")
        # git writes a pack before its index, and the index goes first.
        if stem == name or stem + ".pack" not in files or any(stem + suffix in files for suffix in _LEFT_ALONE):
            continue
        with contextlib.suppress(FileNotFoundError):
            size = files[stem + ".pack"].stat().st_size
            packs.append(_Pack(file.with_name(stem), size, file.stat().st_size))
    return sorted(packs, key=lambda pack: (pack.size, pack.stem))


def _is_many(repository: Repository, packs: float) -> bool:
    """Whether these are more packs than the repository's settings let be, see git-gc(1)."""

    def setting(name: str, default: str) -> int:
        return int(repository.git("config", "--type=int", "--default", default, "--get", name))

    limit = setting("gc.autoPackLimit", "50")
    return 0 < limit < packs and setting("gc.auto", "6700") > 0


def _pack(repository: Repository, small: Sequence[_Pack], quarantine: Path, stop: Callable[[], bool]) -> bool:
    """Write what ``small`` have into the quarantine; False if stopped."""
    seen = quarantine / "seen"
    (seen / "pack").mkdir(parents=True)
    for pack in small:
        for suffix in (".pack", ".idx"):
            (seen / "pack" / (pack.stem.name + suffix)).symlink_to(pack.stem.with_name(pack.stem.name + suffix))
    command = repository.command(
        *_MAPPED, "pack-objects", "--stdin-packs", "--non-empty", "--delta-base-offset", "--quiet", "--threads=1",
        f"--window-memory={_WINDOW_MEMORY}", str(quarantine / "pack" / "pack"),
    )  # fmt: skip
    given: bytes | None = "".join(f"{pack.name}\n" for pack in small).encode()
    said: bytes | None = None
    with subprocess.Popen(
        ["nice", "-n", "19", "ionice", "-c", "3", "-t", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=git_environment({"GIT_OBJECT_DIRECTORY": str(seen)}),
        start_new_session=True,  # what Ctrl-C means is for `stop` to say
    ) as process:
        try:
            while said is None and not stop():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    said = process.communicate(given, timeout=_STOP_POLL_S)[1]
                given = None  # what was not read yet is kept
        finally:
            process.kill()  # it has written nowhere but into the quarantine
    if said is None:
        return False
    if process.returncode:
        if b"No space left on device" in said:
            raise OSError(28, "No space left on device", str(quarantine))
        raise GitFailed(["pack-objects"], process.returncode, said)
    return True


def _remove(packs: Sequence[_Pack]) -> None:
    """Take packs away in git's order; who has one open reads on."""
    for directory in {pack.stem.parent for pack in packs}:
        # One over all packs, or a chain of them, names packs that go; git does the same. A lock is another git's.
        for file in (*directory.glob("multi-pack-index*"), *directory.glob("multi-pack-index.d/*")):
            if file.suffix != LOCK and not file.is_dir():
                file.unlink(missing_ok=True)
    for pack in packs:
        for suffix in (".idx", ".rev", ".bitmap", ".pack"):
            pack.stem.with_name(pack.stem.name + suffix).unlink(missing_ok=True)
