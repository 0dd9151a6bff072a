# SPDX-License-Identifier: GPL-3.0-or-later
"""What the index calls unpacked and git does not have any more: a `git gc` at a bad moment, a pack that was deleted.

A row is believed only as long as the git packs that were there when it was made are still there. Otherwise git is
asked, and rows of what is lost go back to a state from which they are let in again: from their reel, which a sync
fetches if need be, or from the open reel. One thread, under the node's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from gtfs.counted import counted
from gtfs.ids import ObjectId
from gtfs.reel.index import Index
from gtfs.repo.repository import GitFailed, Repository
from gtfs.repo.revlist import in_hex, rev_list

log = logging.getLogger(__name__)

_PACKS = "git-packs"  # in the index: those that held all that is unpacked; _DOUBT if not even trees can be believed
_DOUBT = "?"
_ASKED = 100_000  # objects of which git is asked at a time: it may be a million, and all that it says is held


def rely_on(index: Index, packs: Collection[str]) -> None:
    """Note git packs (file names) that rows of this transaction stand on."""
    noted = index.meta.get(_PACKS)
    if noted == _DOUBT or not packs or (noted is None and index.packs.with_stage("unpacked", limit=1)):
        return  # a look is due in any case
    index.meta.set(_PACKS, " ".join(sorted({*(noted or "").split(), *packs})))


def relied_on(index: Index) -> frozenset[str]:
    """The packs that were noted."""
    return frozenset((index.meta.get(_PACKS) or "").split())


def rely_on_others(index: Index, gone: Collection[str], made: Collection[str]) -> None:
    """Note that ``made`` have all that ``gone`` had, as after `gtfs.repo.upkeep`: nothing is lost, and git need not be
    asked for each of a million packs."""
    noted = index.meta.get(_PACKS)
    if noted is None or noted == _DOUBT:
        return
    with index.transaction():
        index.meta.set(_PACKS, " ".join(sorted({*noted.split(), *made}.difference(gone))))


def doubt(index: Index) -> None:
    """Let the next `find_lost` look at trees and blobs, too: one was missed."""
    index.meta.set(_PACKS, _DOUBT)


def is_doubted(index: Index) -> bool:
    """Whether `doubt` was called since the last look."""
    return index.meta.get(_PACKS) == _DOUBT


def find_lost(repository: Repository, index: Index) -> int:
    """Ask git for what is unpacked, if packs have gone; put back what it has lost and give how many rows that were."""
    noted = index.meta.get(_PACKS)
    packs = sorted(pack_names(repository))  # before the look: what goes meanwhile is noticed at the next
    if noted is not None and noted != _DOUBT and set(noted.split()) <= set(packs):
        return 0
    unpacked = index.packs.unpacked()
    lost = absent(repository, unpacked)
    if noted == _DOUBT and unpacked and (lost or next(missing_objects(repository, unpacked), None) is not None):
        # Which pack brings a tree or blob is not known; what git still has of them is skipped on the way in.
        lost = unpacked
    rows = index.packs.get_many(lost)
    with index.transaction():
        index.packs.set_stage([oid for oid, row in rows.items() if row.reel is not None], "remote")
        index.packs.set_stage([oid for oid, row in rows.items() if row.reel is None], "verified")
        index.meta.set(_PACKS, " ".join(packs))
    if lost:
        of_packs = counted(len(lost), "pack")
        log.warning("git has lost objects of %s, %s first; they are let in again", of_packs, lost[0].hex())
    return len(lost)


def pack_names(repository: Repository) -> set[str]:
    """The file names of the packs in the repository and its alternates."""
    return {pack.name for directory in repository.object_directories() for pack in (directory / "pack").glob("*.pack")}


def _has_objects(directory: Path) -> bool:
    """Whether anything lies in a directory of objects, in packs or alone."""
    try:
        names = {path.name for path in directory.iterdir()}
        return bool(names - {"info", "pack"}) or any((directory / "pack").iterdir())
    except FileNotFoundError:
        return True  # git says what that means


def absent(repository: Repository, oids: Collection[ObjectId]) -> list[ObjectId]:
    """Those of the objects that git does not have; raises `GitFailed`."""
    if not oids:
        return []
    if not any(map(_has_objects, repository.object_directories())):  # a new mirror's, before its first pack
        return list(oids)
    found: list[ObjectId] = []
    left = iter(oids)
    while run := list(islice(left, _ASKED)):
        asked = b"".join(oid.hex().encode() + b"\n" for oid in run)
        out = repository.git("cat-file", "--batch-check=%(objectname)", "--buffer", stdin=asked)
        missing = (line[:-8] for line in out.splitlines() if line.endswith(b" missing"))
        found += [ObjectId(bytes.fromhex(name.decode())) for name in missing]
    return found


def missing_objects(
    repository: Repository, tips: Collection[ObjectId], *, history: bool = True
) -> Iterator[ObjectId | None]:
    """What git lacks of the history of these, or of their own trees; None where it cannot even walk there. Shallow and
    partial clones lack what they are meant to lack."""
    if repository.is_partial() or not tips:
        return
    args = ["--objects", "--missing=print", "--quiet", *(() if history else ("--no-walk",))]
    try:
        for line in rev_list(repository, args, in_hex(tips)):
            if line.startswith(b"?"):
                yield ObjectId(bytes.fromhex(line[1:].strip().decode()))
    except GitFailed:
        yield None
