# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a batch of verified objects into the object store (design.md §8.6, §8.7): git index-pack in a quarantine, then
fsync, rename `.pack`, `.rev`, `.idx` last, fsync of the directory.

git is the second opinion and brings SHA-1 collision detection. One thread at a time for one repository.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from gtfs.durable import sync_directory, sync_file
from gtfs.errors import GtfsError
from gtfs.pack.limits import GIB, Limits
from gtfs.repo.repository import Repository, git_environment, list_of_paths

UNPACKING = "unpacking"  # in the node's state directory; swept at start

# facts: what --strict alone lets through, and what real history has and must keep.
_FATAL: Final = (
    "badFilemode", "emptyName", "fullPathname", "hasDot", "hasDotdot", "hasDotgit", "nullSha1", "gitmodulesParse",
    "gitattributesSymlink", "gitignoreSymlink", "mailmapSymlink", "badTagName",
)  # fmt: skip
_FORGIVEN: Final = ("zeroPaddedFilemode", "nulInCommit", "badTimezone", "missingSpaceBeforeDate", "missingTaggerEntry")
STRICT: Final = ",".join([f"{m}=error" for m in _FATAL] + [f"{m}=warn" for m in _FORGIVEN])

_CPU_BASE_S: Final = 60
_CPU_BYTES_PER_S: Final = 1 << 20


class GitRefused(GtfsError):
    """git index-pack did not accept the objects; ``reason`` is its own word."""

    exit_code = 4

    def __init__(self, reason: str) -> None:
        super().__init__(f"git index-pack refused the objects: {reason}")
        self.reason = reason


def sweep_unpacking(repository: Repository) -> None:
    """Drop what a crash left between steps 6 and 7."""
    shutil.rmtree(repository.state / UNPACKING, ignore_errors=True)


def unpack(repository: Repository, batch: Path, limits: Limits) -> None:
    """Index the pack file ``batch`` and publish its objects; raises `GitRefused`, OSError.

    ``batch`` must hold no object twice and none that the repository has (§3.9); its bases may be outside.
    """
    quarantine = repository.state / UNPACKING
    shutil.rmtree(quarantine, ignore_errors=True)
    packs = quarantine / "pack"
    quarantine.mkdir(mode=0o700)
    packs.mkdir()
    try:
        _index(repository, batch, quarantine, limits)
        publish_packs(packs, repository.objects / "pack")
    finally:
        shutil.rmtree(quarantine, ignore_errors=True)


def _index(repository: Repository, batch: Path, quarantine: Path, limits: Limits) -> None:
    memory = GIB + 2 * limits.object_bytes
    cpu_s = _CPU_BASE_S + batch.stat().st_size // _CPU_BYTES_PER_S
    env = git_environment(
        {
            "GIT_OBJECT_DIRECTORY": str(quarantine),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": list_of_paths(repository.objects),
            "GIT_QUARANTINE_PATH": str(quarantine),
        }
    )
    # fsck.* settings of the repository must not weaken --strict: the list here names every message that matters.
    command = repository.command("index-pack", "--stdin", "--fix-thin", f"--strict={STRICT}")
    with batch.open("rb") as stdin:
        done = subprocess.run(
            ["prlimit", f"--as={memory}", f"--cpu={cpu_s}", "--core=0", *command],
            stdin=stdin,
            capture_output=True,
            env=env,
            check=False,
        )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if "No space left on device" in done.stderr.decode("utf-8", "replace"):
            raise OSError(28, "No space left on device", str(quarantine))
        raise GitRefused(said[-1] if said else f"it ended with {done.returncode}")


def publish_packs(packs: Path, objects_pack: Path) -> None:
    """Move the packs in ``packs`` to ``objects_pack``, durably; raises OSError."""
    objects_pack.mkdir(exist_ok=True)
    rank = {".pack": 0, ".rev": 1, ".idx": 2}
    files = sorted((f for f in packs.iterdir() if f.suffix in rank), key=lambda f: rank[f.suffix])
    for file in files:
        sync_file(file)
    for file in files:
        file.rename(objects_pack / file.name)
    sync_directory(objects_pack)
