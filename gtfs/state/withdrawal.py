# SPDX-License-Identifier: GPL-3.0-or-later
"""What a publisher withdrew goes from this node, too, unless a ref here reaches it (design.md §4, §8).

A catalogue that prunes lists reels without some packs (pruning.py). The swarm lets go of the old reels at once. Once
the new ones can be listed and refs have moved, this forgets every pack that is in none of them and that no ref
reaches: rows, bytes, and what the node's own refs hold of it. What a ref reaches, as one that is held back, stays in
the open reel until that has moved. Objects are git's: nothing of gtfs keeps them any more.

The order: own refs go, what stays is copied and synced, rows go and the open reel is marked, it is blanked; then the
caller lets go of the reels. All of it may be done again after a crash at any point. Blocking; under the node's lock,
in the thread that writes.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from gtfs.ids import ObjectId
from gtfs.ingest.refjudge import policy_of
from gtfs.pack.format import CorruptPack
from gtfs.reel.index import PackRow, ReelRow
from gtfs.reel.openreel import file_chunks
from gtfs.reel.table import CorruptReel
from gtfs.repo.history import MISSING, OWN_REFS, TIPS, WAS, Ref, add_kinds, read_head_commit, read_refs, tags_reachable
from gtfs.repo.refs import RefMove, move_refs
from gtfs.state.sealing import bases_of, reached
from gtfs.state.state import State
from gtfs.state.turnover import withdrawn

log = logging.getLogger(__name__)

_REACHED: Final = "its publisher has withdrawn it, and a ref here reaches it"  # the reason of such a pack
_TOLD: Final = "withdrawn"  # in the index: what status tells
_UNBLANKED: Final = "unblanked"  # in the index, while the open reel may have bytes of packs that are gone
_AT_ONCE: Final = 5000  # packs asked from the index, or told it

PRUNE_GIT: Final = "git reflog expire --expire-unreachable=now --all && git gc --prune=now"


def withdrawn_reels(state: State) -> list[ReelRow]:
    """The reels that nobody may be given any more."""
    return withdrawn(state.reel_files, None if state.held is None else state.held.catalogue, state.previous)


def told_of_withdrawal(state: State) -> str | None:
    """What was withdrawn here last, in words that are others each time something goes; None: nothing ever was."""
    return state.index.meta.get(_TOLD)


def describe_withdrawn(state: State) -> dict[str, Any] | None:
    """What was withdrawn here last: by which version, how many packs; and how many of all time refs still reach."""
    told = told_of_withdrawal(state)
    kept = len(state.index.packs.with_reason(_REACHED))
    if told is None and not kept:
        return None
    return {**(json.loads(told) if told is not None else {"version": None, "packs": 0}), "reached": kept}


def withdraw(state: State, *, unpublished: bool = False) -> int:
    """See the module; gives how many packs are gone. Nothing is done while a listed reel's table is not here.

    ``unpublished``: what lies in the open reel and no ref reaches goes though nothing was pruned. Raises `GitFailed`,
    `RefsNotMoved`, OSError.
    """
    index = state.index
    gone = withdrawn_reels(state)
    marked = {row.oid for row in index.packs.with_reason(_REACHED)}
    if index.meta.get(_UNBLANKED) is not None:
        _blank(state)
    if not gone and not marked and not unpublished:
        return 0
    in_open_reel = index.packs.ids_in_open_reel()
    if not marked and not in_open_reel and not any(index.reels.holds(reel.id) for reel in gone):
        state.let_go(gone)  # as after each merge
        return 0
    refs = read_refs(state.repository)
    if lost := [ref.name.decode("utf-8", "replace") for ref in refs if ref.kind == MISSING]:
        log.warning("what was withdrawn stays for now: git has lost what %s names", lost[0])
        return 0
    if not gone and not unpublished and not _unreached(state, marked, _staying(state, refs, marked)):
        return 0  # as at every move of refs while others are held back
    published = marked | _published(state, gone)
    candidates = published.union(in_open_reel)
    if not _leave_to_listed(state, gone, candidates):
        return 0
    published &= candidates
    staying = _staying(state, refs, published)
    unreached = _unreached(state, candidates, staying)
    own = [RefMove(ref.name, ref.oid, None) for ref in set(refs).difference(staying)]
    for name, why in move_refs(state.repository, own).items():
        log.warning("what was withdrawn stays for now: %s stays: %s", name.decode("utf-8", "replace"), why)
        return 0
    _keep(state, published - unreached, gone)
    _forget(state, unreached)
    state.let_go([reel for reel in gone if not index.reels.holds(reel.id)])
    return len(unreached)


def _published(state: State, gone: Iterable[ReelRow]) -> set[ObjectId]:
    """The packs of reels that are withdrawn, those included that have their place elsewhere."""
    found: set[ObjectId] = set()
    for reel in gone:
        found.update(row.oid for row in state.index.packs.reel_rows(reel.id))
        is_removed = not state.layout.reel(reel.name).exists() and not state.layout.table(reel.name).exists()
        table = None if is_removed else state.reel_files.table(reel)
        found.update(pack.oid for pack in (() if table is None else table.packs))
    return found


def _leave_to_listed(state: State, gone: Iterable[ReelRow], candidates: set[ObjectId]) -> bool:
    """Take out those that listed reels have, where they get their place; False if one cannot be listed yet."""
    held, reel_files = state.held, state.reel_files
    leaving = {reel.id for reel in gone}
    for entry in () if held is None else held.catalogue.reels:
        reel = state.index.reels.by_name(entry.name)
        table = None if reel is None else reel_files.table(reel)
        if reel is None or table is None:
            return False
        reel_files.adopt(reel, table, leaving)
        candidates.difference_update(pack.oid for pack in table.packs)
    return True


def _staying(state: State, refs: Iterable[Ref], published: Collection[ObjectId]) -> list[Ref]:
    """All refs but the node's own that only hold what was withdrawn.

    Where a ref stood before it was moved or went counts as withdrawn only if it may go anywhere: else a thief of the
    publisher's key would reach further by deleting it than by moving it.
    """
    demands = state.demands()
    is_publisher = state.config.sign_key() is not None

    def stays(ref: Ref) -> bool:
        if ref.oid not in published or not ref.name.startswith((TIPS, WAS)):
            return True
        if ref.name.startswith(TIPS) or is_publisher:
            return False
        name = b"refs/" + ref.name.removeprefix(WAS).rpartition(b"/")[0]
        return not policy_of(name, demands).non_fast_forward

    return [ref for ref in refs if stays(ref)]


def _unreached(state: State, candidates: Collection[ObjectId], refs: list[Ref]) -> set[ObjectId]:
    """Those that neither these refs nor HEAD reach."""
    if not candidates:
        return set()
    repository = state.repository
    if state.config.is_fork():  # what its commits stand on is reached, and another's
        own = [ref for ref in refs if not ref.name.startswith(OWN_REFS)]
        return set(candidates).difference(reached(state, own, bases_of(state)))
    kinds = {ref.oid: ref.kind for ref in add_kinds(repository, {oid.hex().encode(): oid for oid in candidates})}
    commits = [oid for oid, kind in kinds.items() if kind == b"commit"]
    others = [ref.oid for ref in refs if ref.kind in (b"commit", b"tag")]
    if (head := read_head_commit(repository)) is not None:
        others.append(head)
    lines = [f"{oid.hex()}\n" for oid in commits] + [f"^{oid.hex()}\n" for oid in others]
    out = repository.git("rev-list", "--stdin", stdin="".join(lines).encode()) if commits else b""
    unreached = {ObjectId(bytes.fromhex(line.decode())) for line in out.split()}.intersection(commits)
    # git gc may have been here before; and what was never let in is in no git.
    unreached |= {oid for oid, kind in kinds.items() if kind == MISSING}
    return unreached | {oid for oid, kind in kinds.items() if kind == b"tag"}.difference(
        tags_reachable(repository, refs)
    )


def _rows(state: State, oids: Iterable[ObjectId]) -> Iterator[list[PackRow]]:
    left = iter(oids)
    while some := list(islice(left, _AT_ONCE)):
        yield list(state.index.packs.get_many(some).values())


def _keep(state: State, oids: Iterable[ObjectId], gone: Iterable[ReelRow]) -> None:
    """Give a place in the open reel to what refs reach of reels that go, and say why it is there."""
    reels, open_reel = {reel.id: reel for reel in gone}, state.open_reel()
    for rows in _rows(state, oids):
        places: list[tuple[ObjectId, int | None]] = []
        for row in rows:
            if row.reel is None:
                places.append((row.oid, row.offset))
            elif row.reel in reels:
                offset = None
                with contextlib.suppress(CorruptPack, CorruptReel, FileNotFoundError):  # else git alone has it
                    chunks = file_chunks(state.layout.reel(reels[row.reel].name), row.offset or 0, row.size)()
                    offset = open_reel.append_chunks(chunks).offset
                places.append((row.oid, offset))
        open_reel.sync()
        state.index.packs.move_to_open_reel(places, _REACHED)


def _forget(state: State, oids: Collection[ObjectId]) -> None:
    """Drop rows, then what the open reel has of them, and note it for the status."""
    index, held = state.index, state.held
    if not oids:
        return
    with index.transaction():
        index.packs.drop(oids)
        index.meta.set(_UNBLANKED, "1")
        version = None if held is None else held.catalogue.pruned
        told = json.loads(index.meta.get(_TOLD) or "{}")
        before = told.get("packs", 0) if told.get("version") == version else 0
        index.meta.set(_TOLD, json.dumps({"version": version, "packs": before + len(oids)}))
    _blank(state)


def _blank(state: State) -> None:
    """Write over what the open reel has between packs: nobody finds there what has gone."""
    open_reel, index = state.open_reel(), state.index
    state.empty_open_reel()
    end = 0
    gaps: list[tuple[int, int]] = []
    for row in index.packs.open_rows():
        offset = row.offset or 0
        if offset > end:
            gaps.append((end, offset - end))
        end = max(end, offset + row.size)
    if open_reel.size > end:
        open_reel.truncate_to(end)
    if gaps:
        open_reel.blank(gaps)
    index.meta.set(_UNBLANKED, None)
