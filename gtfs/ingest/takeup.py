# SPDX-License-Identifier: GPL-3.0-or-later
"""Commits and tags that stand in the repository become commit packs in the open reel (design.md §3, §4).

Incremental: only what the index does not know is encoded. Each run's packs are synced, then recorded in one
transaction, so an interruption loses at most what workers had at hand. One thread.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from gtfs.counted import counted
from gtfs.ids import ObjectId
from gtfs.ingest.foresight import NOT_LOOKED_AT, Foresight, LookedAt
from gtfs.pack.limits import Limits
from gtfs.reel.index import Index, LocalPack
from gtfs.reel.openreel import OpenReelWriter, ReelReader
from gtfs.repo.encoding import Unmade, encode_many
from gtfs.repo.history import Ref, history
from gtfs.repo.reach import find_blamed
from gtfs.repo.repository import GitFailed, Repository
from gtfs.repo.work import UNWATCHED, Step, Work

log = logging.getLogger(__name__)

_ASK = 5000  # ids asked of the index at a time


class TakenUp(NamedTuple):
    """How many packs were made, their bytes, and the commits that cannot be made with the reason.

    ``looked_at``: which packs of the open reel were. ``saw_all``: whether all that refs reach was walked to find them,
    and nothing else was to be made.
    """

    packs: int
    packed_bytes: int
    unmade: dict[ObjectId, str]
    made: Sequence[ObjectId] = ()
    looked_at: LookedAt = NOT_LOOKED_AT
    saw_all: bool = False


def find_new(
    repository: Repository, index: Index, without: Collection[ObjectId] = (), refs: Collection[Ref] | None = None
) -> list[ObjectId]:
    """The commits and tags reachable from ``refs`` (None: from any, and HEAD) that have no local pack, parents first.

    What the tips ``without`` reach is not looked at.
    """
    new: list[ObjectId] = []
    run: list[ObjectId] = []

    def ask() -> None:
        there = index.packs.unpacked_of(run)
        new.extend(oid for oid in run if oid not in there)
        run.clear()

    for oid in history(repository, without, refs):
        run.append(oid)
        if len(run) >= _ASK:
            ask()
    ask()
    return new


def find_new_of_sound(
    repository: Repository, index: Index, without: Collection[ObjectId], refs: Sequence[Ref]
) -> list[ObjectId]:
    """The same; a ref that reaches what git cannot read does not stop the others, and is noted. Raises `GitFailed`."""
    try:
        return find_new(repository, index, without, refs)
    except GitFailed:
        found = find_blamed(repository, refs, ())
        if not found.blamed:
            raise
        index.unencodable.put(found.unreadable)
        return find_new(repository, index, (), [ref for ref in refs if ref.name not in found.blamed])


def take_up(
    repository: Repository,
    index: Index,
    open_reel: OpenReelWriter,
    oids: Sequence[ObjectId],
    limits: Limits,
    work: Work = UNWATCHED,
    foresight: Foresight | None = None,
) -> TakenUp:
    """Encode ``oids``, append them to the open reel and record them as unpacked; look at them, with ``foresight``.

    Raises OSError, and GitFailed where git was killed over one, which says nothing of its pack; what was recorded
    before stays.
    """
    made: list[ObjectId] = []
    packed_bytes = 0
    unmade: dict[ObjectId, str] = {}
    killed: list[Unmade] = []
    looked_at = LookedAt()
    for run in encode_many(repository, oids, repository.layout.spool, limits, work, foresight):
        looked_at.said += run.said
        with ReelReader(run.spool) as spool:
            offsets = open_reel.append_run((s.digest, spool.chunks(at, s.length)) for s, at in run.made)
        local = [
            LocalPack(s.oid, s.kind, s.time_s, s.length, s.digest, offset, s.parents, "unpacked")
            for (s, _), offset in zip(run.made, offsets, strict=True)
        ]
        if foresight is not None:
            for (stamp, _), offset in zip(run.made, offsets, strict=True):
                looked_at.add(offset, offset + stamp.length)
        run.spool.unlink()
        open_reel.sync()
        with index.transaction():
            index.packs.put_local(local)
            index.needs.put({stamp.oid: stamp.needs for stamp, _ in run.made})
            index.unencodable.drop(p.oid for p in local)
            index.unencodable.put({u.oid: u.reason for u in run.unmade if not u.signal})
        unmade.update((u.oid, u.reason) for u in run.unmade if not u.signal)
        killed += [u for u in run.unmade if u.signal]
        made += [p.oid for p in local]
        packed_bytes += sum(p.size for p in local)
        work.tell(Step(len(made) + len(unmade), len(oids), packed_bytes))
    if unmade:
        oid, reason = next(iter(unmade.items()))
        packs = counted(len(unmade), "commit pack")
        log.warning("%s cannot be made, %s first: %s", packs, oid.hex(), reason)
    if killed and not work.stop():  # whoever stops the work with Ctrl-C ends git, too
        raise GitFailed(["cat-file"], -killed[0].signal, b"over the pack of %s" % killed[0].oid.hex().encode())
    return TakenUp(len(made), packed_bytes, unmade, made, looked_at)


def note_whole(index: Index, tips: Collection[ObjectId]) -> None:
    """Refs have just moved to these, over history that is here whole: nobody need walk it to find what is new."""
    if tips:
        index.meta.set_taken_up(index.meta.taken_up().union(tips))


def sweep_spool(repository: Repository) -> None:
    """Drop spool files that a crash left."""
    shutil.rmtree(repository.layout.spool, ignore_errors=True)


def parents_first(packs: Iterable[tuple[ObjectId, Sequence[ObjectId]]]) -> list[ObjectId]:
    """The ids so that parents among them come first; the input's order otherwise."""
    parents = dict(packs)
    placed: dict[ObjectId, None] = {}
    for first in parents:
        stack = [first]
        while stack:
            oid = stack[-1]
            todo = [p for p in parents[oid] if p in parents and p not in placed]
            if oid in placed or not todo:
                placed[oid] = None
                stack.pop()
            else:
                stack.extend(todo)
    return list(placed)
