# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a batch of verified objects into the object store (design.md §8.6, §8.7): git index-pack in a quarantine, then
fsync, rename `.pack`, `.rev`, `.idx` last, fsync of the directory.

git is the second opinion and brings SHA-1 collision detection. One thread at a time for one repository.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Final

from gtfs.durable import sync_directory, sync_file
from gtfs.errors import GtfsError
from gtfs.ids import ObjectId
from gtfs.pack.limits import GIB, Limits
from gtfs.repo.repository import Repository, git_environment, list_of_paths

UNPACKING = "unpacking"  # in the node's state directory; swept at start

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


@lru_cache(maxsize=1)
def known_fsck_ids() -> frozenset[str]:
    """The message ids of git-fsck(1) that the installed git knows: it dies of any other. Raises OSError."""
    done = subprocess.run(
        ["git", "help", "--config-for-completion"], capture_output=True, env=git_environment(), check=False
    )
    lines = done.stdout.decode("ascii", "replace").splitlines()
    return frozenset(line.removeprefix("fsck.") for line in lines if line.startswith("fsck.")) - {"skipList"}


def unpack(
    repository: Repository, batch: Path, limits: Limits, levels: str = "", skipped: Collection[ObjectId] = ()
) -> None:
    """Index the pack file ``batch`` and publish its objects; raises `GitRefused`, OSError.

    ``levels``: how grave git finds what, as id=level,...; ``skipped`` are objects that its fsck does not look at.
    ``batch`` must hold no object twice and none that the repository has (§3.9); its bases may be outside.
    """
    quarantine = repository.state / UNPACKING
    shutil.rmtree(quarantine, ignore_errors=True)
    packs = quarantine / "pack"
    quarantine.mkdir(mode=0o700)
    packs.mkdir()
    try:
        _index(repository, batch, quarantine, limits, levels, skipped)
        publish_packs(packs, repository.objects / "pack")
    finally:
        shutil.rmtree(quarantine, ignore_errors=True)


def _index(
    repository: Repository, batch: Path, quarantine: Path, limits: Limits, levels: str, skipped: Collection[ObjectId]
) -> None:
    memory = GIB + 2 * limits.object_bytes
    cpu_s = _CPU_BASE_S + batch.stat().st_size // _CPU_BYTES_PER_S
    env = git_environment(
        {
            "GIT_OBJECT_DIRECTORY": str(quarantine),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": list_of_paths(repository.objects),
            "GIT_QUARANTINE_PATH": str(quarantine),
        }
    )
    # fsck.* settings of the repository do not count for index-pack, only what stands here.
    with batch.open("rb") as stdin, tempfile.TemporaryFile(dir=quarantine) as skip_list:
        skip_list.writelines(oid.hex().encode() + b"\n" for oid in skipped)
        skip_list.flush()
        # By its descriptor: git ends a path in this option at a blank, a comma or a bar.
        strict = f"--strict={levels}{',' if levels else ''}skiplist=/proc/self/fd/{skip_list.fileno()}"
        command = repository.command("index-pack", "--stdin", "--fix-thin", strict)
        done = subprocess.run(
            ["prlimit", f"--as={memory}", f"--cpu={cpu_s}", "--core=0", *command],
            stdin=stdin,
            capture_output=True,
            env=env,
            pass_fds=[skip_list.fileno()],
            check=False,
        )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if "No space left on device" in done.stderr.decode("utf-8", "replace"):
            raise OSError(28, "No space left on device", str(quarantine))
        # Its last line says that it ended; what is wrong with which object stands above.
        why = next((line for line in said if line.startswith("error: object ")), said[-1] if said else "")
        raise GitRefused(why.removeprefix("error: ") or f"it ended with {done.returncode}")


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
