# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a batch of verified objects into the object store (design.md §8.6, §8.7): git index-pack in a quarantine, then
fsync, rename `.pack`, `.rev`, `.idx` last, fsync of the directory.

git is the second opinion and brings SHA-1 collision detection. One thread at a time for one repository.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

from gtfs.durable import sync_directory, sync_file
from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.repo.bounds import index_pack_command, machine_fault, memory_bytes
from gtfs.repo.repository import Repository, git_environment, list_of_paths

KEEP_SUFFIX: Final = ".keep"
_LACKING: Final = ("unresolved delta", "did not receive expected object")  # git's words (index-pack.c), LC_ALL=C
_KEEP_MARK: Final = b"gtfs: until refs hold these objects\n"


class GitRefused(GtfsError):
    """git index-pack did not accept the objects; ``reason`` is its own word.

    ``lacks_objects``: something that these name was neither in the pack nor in the repository.
    """

    fault = Blame.DATA

    def __init__(self, reason: str, *, lacks_objects: bool = False) -> None:
        super().__init__(f"git index-pack refused the objects: {reason}")
        self.reason = reason
        self.lacks_objects = lacks_objects


def sweep_unpacking(repository: Repository) -> None:
    """Drop what a crash left between steps 6 and 7."""
    shutil.rmtree(repository.layout.unpacking, ignore_errors=True)


@lru_cache(maxsize=1)
def known_fsck_ids() -> frozenset[str]:
    """The message ids of git-fsck(1) that the installed git knows: it dies of any other. Raises OSError."""
    done = subprocess.run(
        ["git", "help", "--config-for-completion"], capture_output=True, env=git_environment(), check=False
    )
    lines = done.stdout.decode("ascii", "replace").splitlines()
    return frozenset(line.removeprefix("fsck.") for line in lines if line.startswith("fsck.")) - {"skipList"}


def unpack(
    repository: Repository, batch: Path, largest_bytes: int, levels: str = "", skipped: Collection[ObjectId] = ()
) -> list[Path]:
    """Index the pack file ``batch`` and publish its objects; gives the `.keep` files that protect them from now on.

    ``levels``: how grave git finds what, as id=level,...; ``skipped`` are objects that its fsck does not look at.
    ``batch`` must hold no object twice and none that the repository has (§3.9); its bases may be outside.
    ``largest_bytes``: see `bounds.memory_bytes`. Raises `GitRefused`, `GitFailed` if the machine is to blame, OSError.
    """
    quarantine = repository.layout.unpacking
    shutil.rmtree(quarantine, ignore_errors=True)
    packs = quarantine / "pack"
    quarantine.mkdir(mode=0o700)
    packs.mkdir()
    try:
        _index(repository, batch, quarantine, largest_bytes, levels, skipped)
        return publish_packs(packs, repository.objects / "pack", keep=_mark(repository))
    finally:
        shutil.rmtree(quarantine, ignore_errors=True)


def _index(
    repository: Repository,
    batch: Path,
    quarantine: Path,
    largest_bytes: int,
    levels: str,
    skipped: Collection[ObjectId],
) -> None:
    env = git_environment(
        {
            "GIT_OBJECT_DIRECTORY": str(quarantine),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": list_of_paths(repository.objects),
            "GIT_QUARANTINE_PATH": str(quarantine),
        }
    )
    memory = memory_bytes(repository, largest_bytes)
    # fsck.* settings of the repository do not count for index-pack, only what stands here.
    with contextlib.ExitStack() as stack:
        stdin = stack.enter_context(batch.open("rb"))
        strict, handed_on = [levels] if levels else [], []
        if skipped:
            skip_list = stack.enter_context(tempfile.TemporaryFile(dir=quarantine))
            skip_list.writelines(oid.hex().encode() + b"\n" for oid in skipped)
            skip_list.flush()
            # By its descriptor: git ends a path in this option at a blank, a comma or a bar.
            strict.append(f"skiplist=/proc/self/fd/{skip_list.fileno()}")
            handed_on.append(skip_list.fileno())
        arguments = ("--stdin", "--fix-thin", "--strict" + ("=" if strict else "") + ",".join(strict))
        done = subprocess.run(
            index_pack_command(repository, arguments, memory, batch.stat().st_size),
            stdin=stdin,
            capture_output=True,
            env=env,
            pass_fds=handed_on,
            check=False,
        )
    if done.returncode:
        fault = machine_fault("index-pack", done.returncode, done.stderr)
        if fault is not None:
            raise fault
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        # Its last line says that it ended; what is wrong with which object stands above.
        why = next((line for line in said if line.startswith("error: object ")), said[-1])
        raise GitRefused(why.removeprefix("error: "), lacks_objects=any(words in why for words in _LACKING))


def publish_packs(packs: Path, objects_pack: Path, *, keep: bytes | None = None) -> list[Path]:
    """Move the packs in ``packs`` to ``objects_pack``, durably; raises OSError.

    With ``keep`` each has a `.keep` file that says so before it is there, so that no git throws away what no ref holds
    yet: gives those files, for `release` once refs do.
    """
    objects_pack.mkdir(exist_ok=True)
    kept = []
    for pack in packs.glob("*.pack"):
        mark = objects_pack / (pack.stem + KEEP_SUFFIX)
        if keep is not None and not mark.exists():  # somebody's own stays
            pack.with_suffix(KEEP_SUFFIX).write_bytes(keep)
            kept.append(mark)
    rank = {KEEP_SUFFIX: 0, ".pack": 1, ".rev": 2, ".idx": 3}
    files = sorted((f for f in packs.iterdir() if f.suffix in rank), key=lambda f: rank[f.suffix])
    for file in files:
        sync_file(file)
    for file in files:
        file.rename(objects_pack / file.name)
    sync_directory(objects_pack)
    return kept


def _mark(repository: Repository) -> bytes:
    """What its `.keep` files say; those of a publisher beside others, who has the objects of their clone, name him."""
    is_beside = repository.objects.is_symlink()
    return _KEEP_MARK + (os.fsencode(repository.path.name) + b"\n" if is_beside else b"")


def kept_marks(repository: Repository) -> list[Path]:
    """Its own `.keep` files: of a batch on its way, or what a crash left."""
    mark_text, found = _mark(repository), []
    for mark in sorted((repository.objects / "pack").glob("*" + KEEP_SUFFIX)):
        with contextlib.suppress(FileNotFoundError):
            if mark.read_bytes() == mark_text:
                found.append(mark)
    return found


def release(marks: Iterable[Path]) -> None:
    """Let git do what it likes with these packs: refs hold what is in them."""
    for mark in marks:
        mark.unlink(missing_ok=True)
