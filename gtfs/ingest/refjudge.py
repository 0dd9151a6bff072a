# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands against the moves of refs that a catalogue asks for: step 9 of design.md §8, before it (§10). One thread.

All refs are judged together, so that neither the questions to git nor the runs of gpgv grow with their number. Nothing
is moved here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from gtfs.ids import Fingerprint, ObjectId, is_ssh_key
from gtfs.ingest.pathjudge import Journey, PathJudge
from gtfs.ingest.quorum import NOTHING_COLLECTED, Collected, Quorum, find_quorums
from gtfs.ingest.signers import AT_ONCE, Signers
from gtfs.ingest.trail import Trail
from gtfs.pack.format import TAG
from gtfs.reel.index import Index, PackRow
from gtfs.repo.ancestry import Pair, commits_with_parents, descending
from gtfs.repo.catfile import CatFile
from gtfs.repo.repository import GitFailed, Repository
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import Policy, PolicyKind, PolicyRefused, check_tag_name, effective_policy
from gtfs.trust.reason import Reason, refused
from gtfs.trust.sshsig import read_allowed_signers
from gtfs.trust.verify import At

NOT_YET = "what it would move to is not verified here yet"

_TAGS = b"refs/tags/"
_HEADS = b"refs/heads/"


class Demands(NamedTuple):
    """What this node demands of refs; see `gate.PolicyGate` for the fields."""

    local: Sequence[Policy]
    catalogue: Sequence[Policy] | None
    keyring: Keyring | None
    collected: Callable[[], Collected] = lambda: NOTHING_COLLECTED  # asked, and verified, where a ref needs sign-offs


def policy_of(name: bytes, demands: Demands) -> Policy:
    """What is demanded of this ref."""
    return effective_policy(name, demands.local, demands.catalogue, has_keyring=demands.keyring is not None)


class _Signed(NamedTuple):
    """What is demanded of signatures: by whom (None: by everybody who counts), and when the key has to be good."""

    signers: frozenset[Fingerprint] | None
    at: At


class Asked(NamedTuple):
    """A ref that shall move: where it stands, where a catalogue had it last (None: nowhere), and where it shall be."""

    name: bytes
    now: ObjectId | None
    last: ObjectId | None
    wanted: ObjectId


class Judgement(NamedTuple):
    """Why refs may not move, by name; ``ahead`` are those that need not: they stand beyond the catalogue.

    ``forward`` are those that move to what descends from where they stand, as far as that was asked.
    ``late`` are those of ``against`` that wait for packs and nothing else, ``quorums`` those that wait for sign-offs
    and nothing else.
    """

    against: dict[bytes, Reason]
    ahead: dict[bytes, str]
    late: frozenset[bytes]
    quorums: dict[bytes, Quorum]
    forward: frozenset[bytes]


_Judge = Callable[[Sequence[Asked], dict[bytes, Policy], dict[ObjectId, PackRow]], dict[bytes, Reason]]


class RefJudge:
    """Judges by what is demanded now; ``trail`` hears of a single ref what holds, and why."""

    def __init__(
        self,
        repository: Repository,
        index: Index,
        reader: CatFile,
        signers: Signers,
        demands: Demands,
        trail: Trail | None = None,
    ) -> None:
        self._repository = repository
        self._index = index
        self._reader = reader
        self._signers = signers
        self._demands = demands
        self._trail = trail

    def judge(self, asked: Sequence[Asked]) -> Judgement:
        """What stands against each; a ref that is in neither answer may move."""
        against: dict[bytes, Reason] = {}
        ahead: dict[bytes, str] = {}
        rows = self._index.packs.get_many({a.wanted for a in asked})
        policies = {a.name: policy_of(a.name, self._demands) for a in asked}
        left = []
        for a in asked:
            reason = _not_here(a, rows.get(a.wanted))
            if reason is None:
                left.append(a)
            else:
                against[a.name] = reason
        forward = [a for a in left if not policies[a.name].non_fast_forward and (a.now or a.last)]
        good = descending(self._repository, {pair for a in forward for pair in _onward(a)})
        left_behind = [a for a in forward if _backward(a, good) is not None]
        good |= descending(self._repository, {(a.wanted, a.now) for a in left_behind if a.now is not None})
        for a in forward:
            reason = _backward(a, good)
            if reason is None and self._trail is not None:
                self._trail.forward(a.now or a.last, a.wanted)
            if reason is not None and _is_ahead(a, good):
                ahead[a.name] = f"it is ahead of the catalogue, which has it at {a.wanted.hex()}"
            elif reason is not None:
                against[a.name] = reason
        left = [a for a in left if a.name not in against and a.name not in ahead]
        # Where two kinds hold, what stands against either; the dearest to find out comes last.
        judges: list[tuple[PolicyKind, _Judge]] = [
            ("tag", self._by_tags),
            ("path", self._by_path),
            ("every-commit", self._by_commits),
        ]
        for kind, judge in judges:
            left = [a for a in left if a.name not in against]
            parts = _parts(left, policies, kind)
            against |= judge([a for a in left if a.name in parts], parts, rows)
        wanted = {a.name: a.wanted for a in left if a.name not in against}
        quorums = self._quorums(wanted, policies)
        against |= {n: Reason("quorum", wanted[n].hex(), "waits", q.reason, "quorum") for n, q in quorums.items()}
        late = frozenset(a.name for a in asked if _is_late(rows.get(a.wanted)))
        onward = frozenset(a.name for a in forward if a.now is not None and (a.now, a.wanted) in good)
        return Judgement(against, ahead, late, quorums, onward)

    def _quorums(self, wanted: dict[bytes, ObjectId], policies: dict[bytes, Policy]) -> dict[bytes, Quorum]:
        if not any(policies[name].quorum for name in wanted):
            return {}
        d = self._demands
        collected = d.collected()
        found = find_quorums(self._repository, self._index, wanted, policies, d.keyring, collected)
        if self._trail is not None:
            self._trail.quorum(next(iter(found.values())), collected)
        return {name: quorum for name, quorum in found.items() if not quorum.is_met}

    def _demand(self, policy: Policy) -> _Signed:
        return _Signed(policy.signers, policy.at(vouched_by_catalogue=self._demands.catalogue is not None))

    def _check_signer(self, signer: Fingerprint, allowed: frozenset[Fingerprint] | None) -> None:
        """Raise `PolicyRefused` unless the signer is named, or counts where nobody is."""
        ring = self._demands.keyring
        if allowed is None and is_ssh_key(signer):  # it stands among the allowed signers
            return
        if allowed is None and ring is not None:
            allowed = ring.everybody
        if signer not in (allowed or ()):
            raise PolicyRefused(f"{signer} may not sign this", "not-allowed")

    def _signed(self, oid: ObjectId, policy: Policy, name: bytes) -> None:
        """Raise `PolicyRefused` unless this tag object has a good signature by one who may, and its ref's own name."""
        signers, at = self._demand(policy)
        self._check_signer(self._signers.signer(oid, "tag", at), signers)
        if name.startswith(_TAGS):
            check_tag_name(self._signers.raw(oid), name)
        if self._trail is not None:
            self._trail.signed(oid, "tag", at, self._signers)

    def _by_tags(
        self, asked: Sequence[Asked], policies: dict[bytes, Policy], rows: dict[ObjectId, PackRow]
    ) -> dict[bytes, Reason]:
        against = {}
        tags = [a.wanted for a in asked if a.name.startswith(_TAGS) and rows[a.wanted].kind == TAG]
        self._signers.find(tags, "tag")
        for a in asked:
            try:
                if a.name.startswith(_TAGS):
                    if rows[a.wanted].kind != TAG:
                        raise PolicyRefused("it is no tag object, so nobody signed it", "unsigned")
                    self._signed(a.wanted, policies[a.name], a.name)
                else:
                    self._by_any_tag(a, policies[a.name])
            except PolicyRefused as e:
                against[a.name] = e.to_reason("tag", a.wanted)
        return against

    def _by_any_tag(self, a: Asked, policy: Policy) -> None:
        found = self._index.packs.get_many(self._index.history.children_of(a.wanted))
        for tag in [oid for oid, row in found.items() if row.kind == TAG and row.stage == "unpacked"]:
            with contextlib.suppress(PolicyRefused):
                self._signed(tag, policy, a.name)
                return
        raise PolicyRefused(
            f"no signed tag names {a.wanted.hex()}, and the policy lets branches move to signed tags only", "no-tag"
        )

    def _by_path(
        self, asked: Sequence[Asked], policies: dict[bytes, Policy], rows: dict[ObjectId, PackRow]
    ) -> dict[bytes, Reason]:
        journeys = [Journey(a.name, _starts(a, policies[a.name]), a.wanted, policies[a.name]) for a in asked]
        is_listed = self._demands.catalogue is not None
        judge = PathJudge(
            self._repository, self._reader, self._signers, self._demands.keyring,
            is_listed=is_listed, keep_ways=self._trail is not None,
        )  # fmt: skip
        against = judge.judge(journeys)
        if self._trail is not None:
            for name, ways in judge.ways.items():
                self._trail.ways(ways, policies[name].at(vouched_by_catalogue=is_listed), self._signers)
        return against

    def _by_commits(
        self, asked: Sequence[Asked], policies: dict[bytes, Policy], rows: dict[ObjectId, PackRow]
    ) -> dict[bytes, Reason]:
        """All of a ref's history is judged, whatever let it in, so that every mirror judges alike."""
        against: dict[bytes, Reason] = {}
        for a in asked:
            if rows[a.wanted].kind == TAG:
                try:
                    self._signed(a.wanted, policies[a.name], a.name)
                except PolicyRefused as e:
                    against[a.name] = e.to_reason("every-commit", a.wanted)
        asked = [a for a in asked if a.name not in against]
        if not asked:
            return against
        try:
            faults = self._faults({a.wanted for a in asked}, {self._demand(policies[a.name]) for a in asked})
        except GitFailed as e:
            text = f"its history cannot be read: {e}"
            return against | {a.name: refused("every-commit", a.wanted.hex(), text, "unreadable") for a in asked}
        for a in asked:
            reason = faults[self._demand(policies[a.name])].get(a.wanted)
            if reason is not None:
                against[a.name] = reason
            elif self._trail is not None:
                self._trail.every_commit(a.wanted, self._demand(policies[a.name]).at, self._signers)
        return against

    def _faults(self, tips: set[ObjectId], demands: set[_Signed]) -> dict[_Signed, dict[ObjectId, Reason]]:
        """For each demand, the commits and tips with one in their history that does not meet it."""
        history = list(commits_with_parents(self._repository, tips, parents_first=True))
        faults: dict[_Signed, dict[ObjectId, Reason]] = {demand: {} for demand in demands}
        left = iter(history)
        while part := list(islice(left, AT_ONCE)):
            # What descends from a fault known by now needs no signature.
            self._signers.find((c for c, parents in part if _has_sound(parents, faults)), "commit")
            for commit, parents in part:
                for demand, found in faults.items():
                    fault = next((found[p] for p in parents if p in found), None) or self._fault(commit, demand)
                    if fault is not None:
                        found[commit] = fault
        reached = {commit for commit, _ in history}
        for tip in tips - reached:  # a tag, whose commit counts
            target = self._commit_of(tip)
            for found in faults.values():
                if target is None or target not in reached:
                    found[tip] = refused("every-commit", tip.hex(), "it names no commit that is here", "not-here")
                elif target in found:
                    found[tip] = found[target]
        return faults

    def _fault(self, commit: ObjectId, demand: _Signed) -> Reason | None:
        try:
            signer = self._signers.signer(commit, "commit", demand.at)
            self._check_signer(signer, demand.signers)
        except PolicyRefused as e:
            return refused("every-commit", commit.hex(), f"{e.reason} ({commit.hex()})", e.cause)
        if self._trail is not None:
            self._trail.meet(commit, signer)
        return None

    def _commit_of(self, oid: ObjectId) -> ObjectId | None:
        """What a tag names in the end; the index has its target where others have parents."""
        seen = set()
        while oid not in seen:
            seen.add(oid)
            row = self._index.packs.get(oid)
            targets = self._index.history.parents_of(oid)
            if row is None or row.kind != TAG:
                return oid
            if not targets:
                return None
            oid = targets[0]
        return None


def moves_back(
    repository: Repository,
    before: Mapping[bytes, ObjectId],
    after: Mapping[bytes, ObjectId],
    policies: Sequence[Policy],
) -> list[bytes]:
    """The refs that mirrors would hold back as no fast-forward, if these places and policies were published next."""
    asked = [
        Asked(name, before[name], None, oid)
        for name, oid in after.items()
        if before.get(name, oid) != oid and not effective_policy(name, (), policies, has_keyring=True).non_fast_forward
    ]
    good = descending(repository, {pair for a in asked for pair in _onward(a)})
    return [a.name for a in asked if _backward(a, good) is not None]


def refused_by_signatures(
    repository: Repository,
    index: Index,
    keyring: Keyring | None,
    before: Mapping[bytes, ObjectId],
    after: Mapping[bytes, ObjectId],
    policies: Sequence[Policy],
) -> dict[bytes, str]:
    """The refs that mirrors with the same keys would hold back for want of signatures, if these were published next."""
    demands = Demands((), policies, keyring)
    moved = {name: oid for name, oid in after.items() if before.get(name) != oid}
    asked = [Asked(n, before.get(n), None, oid) for n, oid in moved.items() if policy_of(n, demands).asks_for_packs]
    if not asked:
        return {}
    with CatFile(repository) as reader:
        signers = Signers(index, reader, keyring, read_allowed_signers(repository.layout.allowed_signers))
        judged = RefJudge(repository, index, reader, signers, demands).judge(asked)
        signers.keep()
    others = ("here", "history", "quorum")  # told otherwise, or nobody's fault
    return {name: reason.text for name, reason in judged.against.items() if reason.rule not in others}


def _has_sound(parents: Sequence[ObjectId], faults: Mapping[_Signed, Mapping[ObjectId, Reason]]) -> bool:
    """Whether there is a demand that these parents meet."""
    return any(not any(p in found for p in parents) for found in faults.values())


def _starts(a: Asked, policy: Policy) -> list[ObjectId]:
    """Whence a way must lead: from each trusted root, where the ref stands, and where a catalogue had it last.

    A ref that may go anywhere needs a root, and then only that one: nothing leads back.
    """
    held = [] if policy.non_fast_forward and policy.roots else [oid for oid in (a.now, a.last) if oid is not None]
    return list(dict.fromkeys((*sorted(policy.roots), *held)))


def _parts(asked: Sequence[Asked], policies: Mapping[bytes, Policy], kind: PolicyKind) -> dict[bytes, Policy]:
    """What of these refs' policies is of this kind."""
    found = {a.name: policies[a.name].part(kind) for a in asked}
    return {name: policy for name, policy in found.items() if policy is not None}


def _is_late(row: PackRow | None) -> bool:
    """Whether what a ref would move to has not come yet; what was refused does not come any more."""
    return row is None or (row.stage != "unpacked" and not row.reason)


def _not_here(a: Asked, row: PackRow | None) -> Reason | None:
    if row is None or row.stage != "unpacked":
        # Without the id, so that many refs that wait for one thing are one line.
        if row is not None and row.reason:
            return refused("here", a.wanted.hex(), f"{NOT_YET} ({row.reason})", "damaged")
        return Reason("here", a.wanted.hex(), "waits", NOT_YET, "not-here")
    if row.kind == TAG and a.name.startswith(_HEADS):
        return refused("here", a.wanted.hex(), "it would hold a tag object, which a branch cannot", "tag-in-branch")
    return None


def _onward(a: Asked) -> list[Pair]:
    """What must descend from what, if the move loses no history."""
    return [(old, a.wanted) for old in (a.now, a.last) if old is not None]


def _backward(a: Asked, good: set[Pair]) -> Reason | None:
    """Why the move loses history; None if it is a fast-forward."""
    for old, where in ((a.now, ""), (a.last, ", where a catalogue had it")):
        if old is None or old == a.wanted:
            continue
        if a.name.startswith(_TAGS):  # git lets no tag move either
            text = f"it is a tag that stands at {old.hex()}{where}, and the policy does not say non-fast-forward"
            return refused("history", a.wanted.hex(), text, "not-forward")
        if (old, a.wanted) not in good:
            text = f"{a.wanted.hex()} does not descend from {old.hex()}{where}"
            text += ", and the policy does not say non-fast-forward"
            return refused("history", a.wanted.hex(), text, "not-forward")
    return None


def _is_ahead(a: Asked, good: set[Pair]) -> bool:
    """Whether somebody moved it on from where the catalogue has it; a catalogue that went back is another thing."""
    went_back = a.last is not None and (a.last, a.wanted) not in good
    return a.now is not None and (a.wanted, a.now) in good and not went_back and not a.name.startswith(_TAGS)
