# SPDX-License-Identifier: GPL-3.0-or-later
"""What a clone's git is told of the refs that a catalogue names: git moves them, here nothing moves (design.md §12).

A ref that was offered counts as standing there, as far as the policy asks where it stood. One thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from gtfs.ids import ObjectId
from gtfs.ingest.refjudge import Demands
from gtfs.ingest.refmoves import judge_moves
from gtfs.reel.index import Index
from gtfs.repo.history import MISSING, Ref, add_kinds
from gtfs.repo.repository import Repository
from gtfs.trust.policy import Policy, effective_policy


class RefOffer(NamedTuple):
    """Where refs may stand. ``held_back``: why those that are elsewhere than the catalogue has them, or nowhere, are.

    ``late`` stand where the catalogue has them and are not judged yet: their packs are not here. For ``unjudged`` ones
    of these the policy asks more than the catalogue's word.
    """

    refs: dict[bytes, ObjectId]
    held_back: dict[bytes, str]
    late: frozenset[bytes] = frozenset()
    unjudged: frozenset[bytes] = frozenset()


def offer_refs(repository: Repository, index: Index, wanted: Mapping[bytes, ObjectId], demands: Demands) -> RefOffer:
    """Judge the refs of a catalogue, and remember what is offered."""
    held = index.refs.held()
    standing = {ref.name: ref for ref in add_kinds(repository, held)}
    before = _offered(index, standing.values())
    judged, _ = judge_moves(repository, index, standing, wanted, demands)
    held_back = {n: why.text for n, why in judged.against.items() if n not in judged.late} | judged.ahead
    offered = {name: oid for name, oid in wanted.items() if name not in held_back and name not in judged.late}
    gone = [name for name in held if name not in wanted]
    index.refs.change(offered, gone, left={name: held[name] for name in gone})
    refs = {name: oid if name not in held_back else before.get(name) for name, oid in wanted.items()}
    unjudged = needing_packs(judged.late, demands.local, demands.catalogue or ())
    return RefOffer({n: oid for n, oid in refs.items() if oid is not None}, held_back, judged.late, unjudged)


def offered_before(repository: Repository, index: Index) -> dict[bytes, ObjectId]:
    """Where refs were offered last, but for places of which git has let go, as nobody took them, and which no reel has
    any more: whoever is offered one of these would get nothing at all."""
    return _offered(index, add_kinds(repository, index.refs.held()))


def _offered(index: Index, standing: Collection[Ref]) -> dict[bytes, ObjectId]:
    lost = {ref.oid for ref in standing if ref.kind == MISSING}
    gone = lost - index.packs.known(lost)
    return {ref.name: ref.oid for ref in standing if ref.oid not in gone}


def needing_packs(names: Iterable[bytes], local: Sequence[Policy], catalogue: Sequence[Policy]) -> frozenset[bytes]:
    """Those refs of a catalogue of which its word is not enough."""
    if not any(line.asks_for_packs for line in (*local, *catalogue)):
        return frozenset()
    return frozenset(n for n in names if effective_policy(n, local, catalogue, has_keyring=True).asks_for_packs)
