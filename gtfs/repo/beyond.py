# SPDX-License-Identifier: GPL-3.0-or-later
"""What commits bring beyond a history that somebody else has, and where they stand on it (design.md §12). Any thread.

In a fork, ``refs/gtfs/base/`` holds what its commits stand on: that, and all that it reaches, is the other's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from gtfs.ids import ObjectId
from gtfs.repo.repository import Repository

BASES: Final = b"refs/gtfs/base/"


@dataclass(frozen=True)
class Beyond:
    """``commits``, the newest first, stand on ``bases``; ``has_root``: one of them has no parent at all."""

    commits: tuple[ObjectId, ...]
    bases: frozenset[ObjectId]
    has_root: bool


def look_beyond(repository: Repository, tip: ObjectId, known: Collection[ObjectId], most: int) -> Beyond:
    """What ``tip`` reaches and ``known`` do not, at most one commit more than ``most``.

    Those of ``known`` that are not here reach nothing. Raises `GitFailed`, also for a tip that is not here.
    """
    lines = [tip.hex().encode() + b"\n", *(b"^" + oid + b"\n" for oid in _here(repository, known))]
    asked = ("rev-list", "--topo-order", "--parents", "--boundary", f"--max-count={most + 1}", "--stdin")
    out = repository.git("-c", "core.commitGraph=false", *asked, stdin=b"".join(lines))
    commits: list[ObjectId] = []
    bases: set[ObjectId] = set()
    has_root = False
    for line in out.splitlines():
        first, *parents = line.removeprefix(b"-").split()
        oid = ObjectId(bytes.fromhex(first.decode()))
        if line.startswith(b"-"):
            bases.add(oid)
        else:
            commits.append(oid)
            has_root = has_root or not parents
    return Beyond(tuple(commits), frozenset(bases), has_root)


def _here(
    repository: Repository, oids: Collection[ObjectId], kinds: Collection[bytes] = (b"commit", b"tag")
) -> list[bytes]:
    """Those of these that the repository has and that are of this kind, in hex."""
    if not oids:
        return []
    asked = b"".join(oid.hex().encode() + b"\n" for oid in dict.fromkeys(oids))
    out = repository.git("cat-file", "--batch-check=%(objecttype) %(objectname)", stdin=asked)
    found = (line.split(b" ") for line in out.splitlines())
    return [oid for kind, oid in found if kind in kinds]


def has_commit(repository: Repository, oid: ObjectId) -> bool:
    """Whether this is a commit that the repository, or what it borrows from, has."""
    return bool(_here(repository, [oid], (b"commit",)))


def read_bases(repository: Repository) -> set[ObjectId]:
    """What this fork's commits stand on. Raises `GitFailed`."""
    out = repository.git("for-each-ref", "--format=%(objectname)", BASES.decode())
    return {ObjectId(bytes.fromhex(line)) for line in out.decode().splitlines()}


def base_lines(bases: Iterable[ObjectId]) -> list[bytes]:
    """For ``git update-ref --stdin``: hold these as bases."""
    return [b"update %s%s %s\n" % (BASES, oid.hex().encode(), oid.hex().encode()) for oid in sorted(bases)]
