# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a batch of verified objects into the object store (design.md §8.6, §8.7): git index-pack in a quarantine, then
fsync, rename `.pack`, `.rev`, `.idx` last, fsync of the directory.

git is the second opinion and brings SHA-1 collision detection. One thread at a time for one repository.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gtfs.durable import sync_directory, sync_file
from gtfs.errors import GtfsError
from gtfs.repo.bounds import index_pack_command, machine_fault, memory_bytes
from gtfs.repo.repository import Repository, git_environment

UNPACKING = "unpacking"  # in the node's state directory; swept at start

# facts: what --strict alone lets through, and what real history has and must keep.
_FATAL: Final = (
    "badFilemode", "emptyName", "fullPathname", "hasDot", "hasDotdot", "hasDotgit", "nullSha1", "gitmodulesParse",
    "gitattributesSymlink", "gitignoreSymlink", "mailmapSymlink", "badTagName",
)  # fmt: skip
_FORGIVEN: Final = ("zeroPaddedFilemode", "nulInCommit", "badTimezone", "missingSpaceBeforeDate", "missingTaggerEntry")
STRICT: Final = ",".join([f"{m}=error" for m in _FATAL] + [f"{m}=warn" for m in _FORGIVEN])

KEEP_SUFFIX: Final = ".keep"
_KEEP_MARK: Final = b"gtfs: until refs hold these objects\n"


class GitRefused(GtfsError):
    """git index-pack did not accept the objects; ``reason`` is its own word."""

    exit_code = 4

    def __init__(self, reason: str) -> None:
        super().__init__(f"git index-pack refused the objects: {reason}")
        self.reason = reason

    @property
    def lacks_objects(self) -> bool:
        """Whether something that these objects name was neither in the pack nor in the repository."""
        return any(words in self.reason for words in ("unresolved delta", "did not receive expected object"))


def sweep_unpacking(repository: Repository) -> None:
    """Drop what a crash left between steps 6 and 7."""
    shutil.rmtree(repository.state / UNPACKING, ignore_errors=True)


def unpack(repository: Repository, batch: Path, largest_bytes: int) -> list[Path]:
    """Index the pack file ``batch`` and publish its objects; gives the `.keep` files that protect them from now on.

    ``batch`` must hold no object twice and none that the repository has (§3.9); its bases may be outside.
    ``largest_bytes``: see `bounds.memory_bytes`. Raises `GitRefused`, `GitFailed` if the machine is to blame, OSError.
    """
    quarantine = repository.state / UNPACKING
    shutil.rmtree(quarantine, ignore_errors=True)
    packs = quarantine / "pack"
    packs.mkdir(parents=True)
    try:
        _index(repository, batch, quarantine, largest_bytes)
        return publish_packs(packs, repository.objects / "pack", keep=True)
    finally:
        shutil.rmtree(quarantine, ignore_errors=True)


def _index(repository: Repository, batch: Path, quarantine: Path, largest_bytes: int) -> None:
    env = git_environment(
        {
            "GIT_OBJECT_DIRECTORY": str(quarantine),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(repository.objects),
            "GIT_QUARANTINE_PATH": str(quarantine),
        }
    )
    # fsck.* settings of the repository must not weaken --strict: the list here names every message that matters.
    arguments = ("--stdin", "--fix-thin", f"--strict={STRICT}")
    memory = memory_bytes(repository, largest_bytes)
    with batch.open("rb") as stdin:
        done = subprocess.run(
            index_pack_command(repository, arguments, memory, batch.stat().st_size),
            stdin=stdin,
            capture_output=True,
            env=env,
            check=False,
        )
    if done.returncode:
        fault = machine_fault("index-pack", done.returncode, done.stderr)
        if fault is not None:
            raise fault
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GitRefused(said[-1])


def publish_packs(packs: Path, objects_pack: Path, *, keep: bool = False) -> list[Path]:
    """Move the packs in ``packs`` to ``objects_pack``, durably; raises OSError.

    With ``keep`` each has a `.keep` file before it is there, so that no git throws away what no ref holds yet: gives
    those files, for `release` once refs do.
    """
    objects_pack.mkdir(exist_ok=True)
    kept = []
    for pack in packs.glob("*.pack") if keep else ():
        mark = objects_pack / (pack.stem + KEEP_SUFFIX)
        if not mark.exists():  # somebody's own stays
            pack.with_suffix(KEEP_SUFFIX).write_bytes(_KEEP_MARK)
            kept.append(mark)
    rank = {KEEP_SUFFIX: 0, ".pack": 1, ".rev": 2, ".idx": 3}
    files = sorted((f for f in packs.iterdir() if f.suffix in rank), key=lambda f: rank[f.suffix])
    for file in files:
        sync_file(file)
    for file in files:
        file.rename(objects_pack / file.name)
    sync_directory(objects_pack)
    return kept


def kept_marks(repository: Repository) -> list[Path]:
    """The `.keep` files of ours: of a batch on its way, or what a crash left."""
    found = []
    for mark in sorted((repository.objects / "pack").glob("*" + KEEP_SUFFIX)):
        with contextlib.suppress(FileNotFoundError):
            if mark.read_bytes() == _KEEP_MARK:
                found.append(mark)
    return found


def release(marks: Iterable[Path]) -> None:
    """Let git do what it likes with these packs: refs hold what is in them."""
    for mark in marks:
        mark.unlink(missing_ok=True)
