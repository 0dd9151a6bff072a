# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 9 of design.md §8 for refs that a catalogue names: the moves that `refjudge` has nothing against. One thread.

What is moved is recorded first, so that a start after a crash makes the moves; what could not be moved is not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from gtfs.ids import ObjectId
from gtfs.ingest.headmove import why_head_stays
from gtfs.ingest.quorum import NOTHING_COLLECTED, Quorum, find_quorums
from gtfs.ingest.refjudge import Asked, Demands, Judgement, RefJudge, policy_of
from gtfs.ingest.signers import Signers
from gtfs.ingest.takeup import note_whole
from gtfs.ingest.tips import keep_places, let_go
from gtfs.ingest.trail import Trail
from gtfs.reel.index import Index
from gtfs.repo.ancestry import descending
from gtfs.repo.catfile import CatFile
from gtfs.repo.history import MISSING, OWN_REFS, TIPS, Ref, add_kinds, read_head, read_places, read_refs
from gtfs.repo.reffiles import conflicts, heal_empty, ref_files, trouble
from gtfs.repo.refs import RefMove, RefsNotMoved, move_refs, set_head
from gtfs.repo.repository import Repository
from gtfs.trust.reason import Reason
from gtfs.trust.sshsig import read_allowed_signers

log = logging.getLogger(__name__)

_TIP = re.compile(re.escape(TIPS) + rb"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")

READY = "nothing stands against it; gtfs sync moves it"
GONE = "the catalogue has it no more; gtfs sync removes it"


class RefReport(NamedTuple):
    """What came of the refs: how many moved, why others stay where they are, and which stand beyond the catalogue.

    ``late`` are those of ``held_back`` that wait for packs and nothing else, ``quorums`` those that wait for sign-offs.
    ``reasons`` are those of ``held_back`` as values, where a rule, and not git, is against it.
    """

    moved: int
    held_back: dict[bytes, str]
    ahead: dict[bytes, str] = {}  # noqa: RUF012  never changed
    late: frozenset[bytes] = frozenset()
    quorums: dict[bytes, Quorum] = {}  # noqa: RUF012  never changed
    reasons: dict[bytes, Reason] = {}  # noqa: RUF012  never changed


class HeldBack(NamedTuple):
    """A ref that does not stand where the catalogue has it, and whether a sync can help."""

    name: bytes
    reason: str
    now: ObjectId | None
    wanted: ObjectId | None  # None: it shall go
    sync_helps: bool
    quorum: Quorum | None = None  # of one that waits for sign-offs and nothing else
    why: Reason | None = None  # where a rule is against it


def follow_refs(
    repository: Repository,
    index: Index,
    wanted: Mapping[bytes, ObjectId],
    head: bytes | None,
    demands: Demands,
) -> RefReport:
    """Move refs to ``wanted``, as a mirror clone would, where history is here and the policy lets them.

    Refs that an earlier catalogue gave and this one lacks go, if nobody else moved them. HEAD goes to ``head``, if the
    node's own lines let it. One that cannot move holds up no other. Raises `RefsNotMoved` for what concerns no single
    ref.
    """
    held = index.refs.held()
    heal_empty(repository, {*wanted, *held})
    # Once for all below: what another git moves meanwhile, no compare-and-swap overwrites.
    refs = read_refs(repository)
    standing = _ordinary(refs)
    now = {name: ref.oid for name, ref in standing.items()}
    judged, _ = judge_moves(repository, index, standing, wanted, demands)
    held_back = {name: reason.text for name, reason in judged.against.items()}
    stay = held_back.keys() | judged.ahead.keys()
    gone = [name for name in held if name not in wanted]
    moves = [RefMove(n, now.get(n), oid) for n, oid in wanted.items() if n not in stay and now.get(n) != oid]
    moves += [RefMove(name, now[name], None) for name in gone if now.get(name) == held[name]]
    # 8 before 9: a start after a crash makes the moves that are recorded here.
    index.refs.change({name: oid for name, oid in wanted.items() - held.items() if name not in stay})
    unkept = keep_places(repository, moves, refs, judged.forward)
    refused = unkept | move_refs(repository, [m for m in moves if m.name not in unkept], [ref.name for ref in refs])
    held_back |= {name: why for name, why in refused.items() if name in wanted}
    note_whole(index, {m.new for m in moves if m.new is not None and m.name not in refused})
    index.refs.change(
        {name: held[name] for name in refused if name in held},
        [name for name in (*gone, *refused) if name not in refused or name not in held],
        left={name: held[name] for name in gone if name not in refused},
    )
    held_back |= {name: f"it is to go, and stays: {why}" for name, why in refused.items() if name not in wanted}
    if head is not None and read_head(repository) != head:
        why = why_head_stays(repository, head, demands.local) or set_head(repository, head)
        if why is not None:
            held_back[b"HEAD"] = why
    let_go(repository)
    return RefReport(len(moves) - len(refused), held_back, judged.ahead, judged.late, judged.quorums, judged.against)


def survey_refs(
    repository: Repository,
    index: Index,
    wanted: Mapping[bytes, ObjectId],
    demands: Demands,
    refs: Sequence[Ref] | None = None,
) -> list[HeldBack]:
    """Of all ``refs`` (None: as they stand now) those that are not where the catalogue has them, and why.

    Moves and heals nothing.
    """
    standing = _ordinary(read_refs(repository) if refs is None else refs)
    judged, asked = judge_moves(repository, index, standing, wanted, demands)
    blocked = conflicts([a.name for a in asked if a.now is None], list(standing))
    found = []
    for a in asked:
        why = judged.against.get(a.name)
        against = why.text if why is not None else judged.ahead.get(a.name) or blocked.get(a.name)
        stuck = None if against else trouble(repository, a.name)
        helps = a.name in judged.late if against else stuck is None or stuck.heals
        reason, quorum = against or (stuck.text if stuck else READY), judged.quorums.get(a.name)
        found.append(HeldBack(a.name, reason, a.now, a.wanted, helps, quorum, why))
    for name, oid in index.refs.held().items():
        if name not in wanted and name in standing and standing[name].oid == oid:
            stuck = trouble(repository, name)
            found.append(HeldBack(name, stuck.text if stuck else GONE, oid, None, stuck is None))
    return found


def verified_refs(
    repository: Repository, index: Index, wanted: Mapping[bytes, ObjectId], demands: Demands
) -> dict[bytes, ObjectId]:
    """The refs of ``wanted`` that stand there, or may move there, by all that is demanded but others' sign-offs.

    All are judged, wherever they stand.
    """
    standing = _ordinary(read_refs(repository))
    alone = demands._replace(collected=lambda: NOTHING_COLLECTED)
    judged, asked = judge_moves(repository, index, standing, wanted, alone, all_of_them=True)
    sound = [a for a in asked if a.name not in judged.ahead]
    return {a.name: a.wanted for a in sound if a.name not in judged.against or a.name in judged.quorums}


def survey_quorums(
    repository: Repository, index: Index, wanted: Mapping[bytes, ObjectId], demands: Demands
) -> dict[bytes, Quorum]:
    """How far each ref has come that needs sign-offs and whose pack is here, wherever it stands."""
    if not any(line.quorum for line in (*demands.local, *(demands.catalogue or ()))):
        return {}
    policies = {name: policy_of(name, demands) for name in wanted}
    asked = {name: oid for name, oid in wanted.items() if policies[name].quorum}
    rows = index.packs.get_many(set(asked.values()))
    here = {name: oid for name, oid in asked.items() if oid in rows and rows[oid].stage == "unpacked"}
    return find_quorums(repository, index, here, policies, demands.keyring, demands.collected()) if here else {}


def find_refused(
    repository: Repository, index: Index, wanted: Mapping[bytes, ObjectId], demands: Demands
) -> dict[bytes, Reason]:
    """The refs against which signatures or sign-offs stand now, also of those that are at ``wanted`` already."""
    judged, _ = judge_moves(repository, index, _ordinary(read_refs(repository)), wanted, demands, all_of_them=True)
    return {name: why for name, why in judged.against.items() if why.rule not in ("here", "history")}


def explain_ref(repository: Repository, index: Index, name: bytes, wanted: ObjectId, demands: Demands) -> list[Reason]:
    """All that is judged of one ref, wherever it stands: what holds, and at last what stands against it."""
    standing, trail = _ordinary(read_refs(repository)), Trail()
    judged, (asked,) = judge_moves(repository, index, standing, {name: wanted}, demands, all_of_them=True, trail=trail)
    against, ahead = judged.against.get(name), judged.ahead.get(name)
    here = Reason("here", wanted.hex(), "holds", f"{wanted.hex()} is verified and in git, with all its history")
    if against is not None:
        return [*([here] if against.rule != "here" else []), *trail.found, against]
    if ahead is not None:
        return [here, *trail.found, Reason("history", name.decode("utf-8", "replace"), "note", ahead)]
    blocked = conflicts([name] if asked.now is None else [], list(standing)).get(name)
    stuck = None if blocked else trouble(repository, name)
    if asked.now != wanted and (blocked or stuck):
        text = blocked or (stuck.text if stuck else "")
        return [here, *trail.found, Reason("ref", name.decode("utf-8", "replace"), "waits", text, "settled-elsewhere")]
    return [here, *trail.found]


def reassert(repository: Repository, index: Index, demands: Demands, may_move: Container[bytes]) -> int:
    """Make the recorded moves that a crash prevented: refs that are missing, or stand at an ancestor.

    They are judged again, and what stands against one of them is no failure. Those that may not move now are put back
    only where a crash has emptied their files.
    """
    try:
        refused, asked = _reassert(repository, index, demands, may_move)
    except (RefsNotMoved, OSError) as e:  # a start must not fail for it: the next sync tries again
        log.warning("refs are not put back: %s", e)
        return 0
    for name, why in refused.items():
        log.warning("%s is not put back: %s", name.decode("utf-8", "replace"), why)
    return asked - len(refused)


def _reassert(
    repository: Repository, index: Index, demands: Demands, may_move: Container[bytes]
) -> tuple[dict[bytes, str], int]:
    held = index.refs.held()
    healed = heal_empty(repository, [*held, *filter(_TIP.match, ref_files(repository, TIPS))])
    tips = {name: ObjectId(bytes.fromhex(name.removeprefix(TIPS).decode())) for name in healed if name not in held}
    wanted = {name: oid for name, oid in held.items() if name in may_move or name in healed}
    places = read_places(repository) if wanted else {}
    if not tips and all(places.get(name) == oid for name, oid in wanted.items()):
        return {}, 0
    refs = _ordinary(add_kinds(repository, places))
    judged, asked = judge_moves(repository, index, refs, wanted, demands)
    asked = [a for a in asked if a.name not in judged.against and a.name not in judged.ahead]
    pairs = {a.name: (a.now, a.wanted) for a in asked if a.now is not None}
    forward = descending(repository, set(pairs.values()))
    moves = [
        RefMove(a.name, refs[a.name].oid if a.name in refs else None, a.wanted)
        for a in asked
        if a.now is None or pairs[a.name] in forward
    ]
    moves += [RefMove(name, None, oid) for name, oid in tips.items()]
    return move_refs(repository, moves), len(moves)


def _ordinary(refs: Iterable[Ref]) -> dict[bytes, Ref]:
    """Those that are not the node's own, by name."""
    return {ref.name: ref for ref in refs if not ref.name.startswith(OWN_REFS)}


def judge_moves(
    repository: Repository,
    index: Index,
    refs: Mapping[bytes, Ref],
    wanted: Mapping[bytes, ObjectId],
    demands: Demands,
    *,
    all_of_them: bool = False,
    trail: Trail | None = None,
) -> tuple[Judgement, list[Asked]]:
    """What stands against those that stand elsewhere than ``wanted`` (or against each), and these."""
    last = {**index.refs.left(), **index.refs.held()}
    asked = []
    for name, oid in wanted.items():
        ref = refs.get(name)
        if ref is not None and ref.oid == oid and not all_of_them:
            continue
        # One whose object is lost stands nowhere, for all that can be lost by moving it.
        now = None if ref is None or ref.kind == MISSING else ref.oid
        asked.append(Asked(name, now, last.get(name), oid))
    with CatFile(repository) as reader:
        signers = Signers(index, reader, demands.keyring, read_allowed_signers(repository.layout.allowed_signers))
        judged = RefJudge(repository, index, reader, signers, demands, trail).judge(asked)
        signers.keep()
    return judged, asked
