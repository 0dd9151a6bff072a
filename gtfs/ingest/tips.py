# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's own refs, by which git gc keeps what no other ref reaches (design.md §8.9).

`refs/gtfs/tips/<oid>` holds a verified commit; `refs/gtfs/was/<ref>/<oid>` where a ref stood before it was made to
stand elsewhere or went, for its owner to find.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Container, Iterable, Mapping, Sequence

from gtfs.ids import ObjectId
from gtfs.ingest.lost import absent, relied_on
from gtfs.reel.index import Index
from gtfs.repo.history import MISSING, OWN_REFS, TIPS, WAS, Ref, add_kinds, read_places, tags_reachable
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
    places = read_places(repository)
    tips = {oid: name for name, oid in places.items() if name.startswith(TIPS)}
    named = {oid for name, oid in places.items() if not name.startswith(OWN_REFS)}
    parents = {p for ps in new.values() for p in ps}
    ends = [oid for oid in new if oid not in parents and oid not in named and oid not in tips]
    children = {oid: index.history.children_of(oid) for oid in ends}
    rows = index.packs.get_many({c for cs in children.values() for c in cs})
    moves = []
    for oid in ends:
        if not any(c in rows and rows[c].stage == "unpacked" for c in children[oid]):
            moves.append(RefMove(_name(oid), None, oid))
    moves += [RefMove(name, oid, None) for oid, name in tips.items() if oid in parents]
    # Creations first: a crash between the two transactions must not leave a commit that nothing holds.
    for name, why in move_refs(repository, [m for m in moves if m.new is not None], places).items():
        raise RefsNotMoved(f"{name.decode()} cannot be made: {why}; what came in is tried again")
    move_refs(repository, [m for m in moves if m.new is None])


def hold_kept(repository: Repository, index: Index) -> None:
    """After a crash: hold what was unpacked into packs that still are protected by a mark of ours, and take the marks
    away. A pack that was not recorded keeps its mark: what is in it comes again."""
    marks = [mark for mark in kept_marks(repository) if mark.with_suffix(".pack").name in relied_on(index)]
    if not marks:
        return
    signed_off = set(index.signoffs.oids())
    parents = {item.oid: item.parents for item in index.packs.unpacked_items() if item.oid in signed_off}
    missing = set(absent(repository, parents))
    try:
        hold(repository, index, {oid: named for oid, named in parents.items() if oid not in missing})
    except RefsNotMoved as e:
        log.warning("what a crash left stays protected by .keep files: %s", e)
    else:
        release(marks)


def keep_places(
    repository: Repository, moves: Sequence[RefMove], refs: Collection[Ref], forward: Container[bytes]
) -> dict[bytes, str]:
    """Hold what these moves would leave without a ref; gives the moves for which that is not possible, and why.

    ``refs`` are all as they stand. Those of ``forward`` move to what descends from there: git need not be asked again.
    """
    present = {ref.name for ref in refs}
    refs = [ref for ref in refs if not ref.name.startswith(OWN_REFS)]
    places = {m.name: m.new for m in moves}
    leaving = [ref for ref in refs if ref.name in places and ref.kind != MISSING]
    leaving = [ref for ref in leaving if ref.kind != b"commit" or ref.name not in forward]  # none reaches a tag
    if not leaving:
        return {}
    staying = {ref.oid for ref in refs if ref.name not in places} | {oid for oid in places.values() if oid is not None}
    alone = _alone(repository, leaving, staying)
    kept = {ref.name: WAS + b"%s/%s" % (ref.name.removeprefix(b"refs/"), ref.oid.hex().encode()) for ref in alone}
    new = [RefMove(kept[ref.name], None, ref.oid) for ref in alone if kept[ref.name] not in present]
    refused = move_refs(repository, new, present)
    return {name: f"where it stands cannot be kept: {refused[own]}" for name, own in kept.items() if own in refused}


def let_go(repository: Repository) -> None:
    """Drop the node's own refs to what ordinary refs reach by now."""
    # Read again, although the caller has just moved refs: its judging may have taken long, and one that went meanwhile
    # must not count as what holds a commit.
    places = read_places(repository)
    found = add_kinds(repository, {name: oid for name, oid in places.items() if name.startswith((TIPS, WAS))})
    own = [r for r in found if r.kind != MISSING]
    if not own:
        return
    alone = set(_alone(repository, own, {oid for name, oid in places.items() if not name.startswith(OWN_REFS)}))
    move_refs(repository, [RefMove(r.name, r.oid, None) for r in own if r not in alone])


def _alone(repository: Repository, refs: Sequence[Ref], others: Iterable[ObjectId]) -> list[Ref]:
    """Those of the refs whose commit or tag object none of the others reaches; any that names another object."""
    others = set(others)
    named = [Ref(b"", oid, b"tag") for oid in others]
    tags = set(tags_reachable(repository, named)) if any(ref.kind == b"tag" for ref in refs) else set()
    commits = {ref.oid for ref in refs if ref.kind == b"commit"} - others
    unreached: set[ObjectId] = set()
    if commits:
        asked = [*(oid.hex() for oid in commits), *("^" + oid.hex() for oid in others)]
        out = repository.git(
            "rev-list", "--ignore-missing", "--stdin", stdin="".join(f"{line}\n" for line in asked).encode()
        )
        unreached = {ObjectId(bytes.fromhex(line.decode())) for line in out.split()}
    return [
        ref
        for ref in refs
        if (ref.oid in unreached if ref.kind == b"commit" else ref.oid not in others and ref.oid not in tags)
    ]
