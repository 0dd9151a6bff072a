# SPDX-License-Identifier: GPL-3.0-or-later
"""`refs/gtfs/tips/<oid>`: holds verified commits that no ref reaches, so that git gc keeps them (design.md §8.9)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from gtfs.ids import ObjectId
from gtfs.ingest.lost import absent, relied_on
from gtfs.reel.index import Index
from gtfs.repo.history import OWN_REFS, TIPS, read_refs, tags_reachable
from gtfs.repo.refs import RefMove, RefsNotMoved, move_refs
from gtfs.repo.repository import Repository
from gtfs.repo.unpack import kept_marks, release

log = logging.getLogger(__name__)


def _name(oid: ObjectId) -> bytes:
    return TIPS + oid.hex().encode()


def hold(repository: Repository, index: Index, new: Mapping[ObjectId, Sequence[ObjectId]]) -> None:
    """Make tips of those just unpacked that nothing unpacked descends from, and let go of tips they descend from.

    ``new`` are those just unpacked, each with its parents.
    """
    refs = read_refs(repository)
    tips = {r.oid: r.name for r in refs if r.name.startswith(TIPS)}
    named = {r.oid for r in refs if not r.name.startswith(OWN_REFS)}
    parents = {p for ps in new.values() for p in ps}
    ends = [oid for oid in new if oid not in parents and oid not in named and oid not in tips]
    children = {oid: index.children_of(oid) for oid in ends}
    rows = index.get_many({c for cs in children.values() for c in cs})
    moves = []
    for oid in ends:
        if not any(c in rows and rows[c].state == "unpacked" for c in children[oid]):
            moves.append(RefMove(_name(oid), None, oid))
    moves += [RefMove(name, oid, None) for oid, name in tips.items() if oid in parents]
    # Creations first: a crash between the two transactions must not leave a commit that nothing holds.
    move_refs(repository, [m for m in moves if m.new is not None])
    move_refs(repository, [m for m in moves if m.new is None])


def hold_kept(repository: Repository, index: Index) -> None:
    """After a crash: hold what was unpacked into packs that still are protected by a mark of ours, and take the marks
    away. A pack that was not recorded keeps its mark: what is in it comes again."""
    marks = [mark for mark in kept_marks(repository) if mark.with_suffix(".pack").name in relied_on(index)]
    if not marks:
        return
    signed_off = set(index.signed_off())
    parents = {item.oid: item.parents for item in index.unpacked_items() if item.oid in signed_off}
    missing = set(absent(repository, parents))
    try:
        hold(repository, index, {oid: named for oid, named in parents.items() if oid not in missing})
    except RefsNotMoved as e:
        log.warning("what a crash left stays protected by .keep files: %s", e)
    else:
        release(marks)


def let_go(repository: Repository) -> None:
    """Drop the tips that ordinary refs reach by now."""
    refs = read_refs(repository)
    tips = [r for r in refs if r.name.startswith(TIPS)]
    if not tips:
        return
    others = [r for r in refs if not r.name.startswith(OWN_REFS)]
    tags = set(tags_reachable(repository, others))
    commits = [r.oid.hex() for r in tips if r.kind == b"commit"]
    wanted = [*commits, *("^" + r.oid.hex() for r in others if r.kind in (b"commit", b"tag"))]
    alone = set()
    if commits:
        out = repository.git("rev-list", "--stdin", stdin="".join(f"{w}\n" for w in wanted).encode())
        alone = {ObjectId(bytes.fromhex(line.decode())) for line in out.split()}
    move_refs(
        repository,
        [RefMove(r.name, r.oid, None) for r in tips if (r.oid not in alone if r.kind == b"commit" else r.oid in tags)],
    )
