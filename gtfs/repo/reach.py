# SPDX-License-Identifier: GPL-3.0-or-later
"""Which refs a commit that cannot be had keeps from being published: those that reach it. Any thread.

Walks with `CatFile` and not with git, which ends at the first commit that is missing; so only where something is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from gtfs.ids import ObjectId
from gtfs.pack.format import COMMIT, TAG, CorruptPack
from gtfs.pack.objects import read_commit_names, read_tag_target
from gtfs.pack.trees import MissingObject
from gtfs.repo.catfile import CatFile
from gtfs.repo.history import Ref
from gtfs.repo.repository import GitFailed, Repository

_MOST_BYTES = 1 << 30  # of a commit or tag


class Reach(NamedTuple):
    """``blamed``: by the name of each ref that reaches one, a bad commit or tag; ``seen``: all that the refs reach;
    ``unreadable``: what git could not give, and why."""

    blamed: dict[bytes, ObjectId]
    seen: set[ObjectId]
    unreadable: dict[ObjectId, str]


def find_blamed(repository: Repository, refs: Iterable[Ref], bad: Collection[ObjectId]) -> Reach:
    """Find the refs that reach one of ``bad``, or what git cannot read; raises `GitFailed` if that was killed."""
    with CatFile(repository) as reader:
        walk = _Walk(reader, repository, frozenset(bad))
        blamed = {}
        for ref in refs:
            found = walk.blame(ref.oid)
            if found is not None:
                blamed[ref.name] = found
        return Reach(blamed, set(walk.verdicts), walk.unreadable)


class _Walk:
    """Every commit and tag is read once; its verdict is a bad one that it reaches, itself first, or None."""

    def __init__(self, reader: CatFile, repository: Repository, bad: frozenset[ObjectId]) -> None:
        self._reader = reader
        self._fmt = repository.fmt
        self._bad = bad
        self.verdicts: dict[ObjectId, ObjectId | None] = {}
        self.unreadable: dict[ObjectId, str] = {}

    def blame(self, tip: ObjectId) -> ObjectId | None:
        """The verdict on a tip; without recursion, as histories are long."""
        todo = [tip]
        below: dict[ObjectId, tuple[ObjectId, ...]] = {}
        while todo:
            oid = todo[-1]
            if oid in self.verdicts:
                todo.pop()
            elif oid not in below:
                below[oid] = self._named_by(oid)
                todo += [other for other in below[oid] if other not in self.verdicts]
            else:
                todo.pop()
                own = oid if oid in self._bad or oid in self.unreadable else None
                self.verdicts[oid] = own or next((v for o in below.pop(oid) if (v := self.verdicts[o])), None)
        return self.verdicts[tip]

    def _named_by(self, oid: ObjectId) -> tuple[ObjectId, ...]:
        """The parents of a commit, or the commit or tag that a tag names."""
        try:
            raw = self._reader.read(oid, _MOST_BYTES)
            if raw.kind == COMMIT:
                return read_commit_names(raw.data or b"", self._fmt)[1]
            if raw.kind == TAG:
                target, kind = read_tag_target(raw.data or b"", self._fmt)
                return (target,) if kind in (COMMIT, TAG) else ()
        except (MissingObject, GitFailed) as e:
            if isinstance(e, GitFailed) and e.was_killed:
                raise
            self.unreadable[oid] = str(e)
        except CorruptPack as e:
            self.unreadable[oid] = f"{oid.hex()} is {e.reason}"
        return ()
