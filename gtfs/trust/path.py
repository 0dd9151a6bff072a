# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy kind `path`: a way through a history on which each parent's policy lets the next commit's signer sign.

It reads nothing itself: what it asks of a history stands in two small Protocols. One thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeVar

from gtfs.ids import Fingerprint, ObjectId, is_ssh_key
from gtfs.trust.keyring import Keyring, Keys, keyring_of, merge_keys
from gtfs.trust.policy import Policy, PolicyRefused
from gtfs.trust.reason import Reason, Rule, refused
from gtfs.trust.treepolicy import (
    FILE_BYTES,
    GUIX,
    SEQUOIA,
    BadTreePolicy,
    GuixAuthorizations,
    SequoiaPolicy,
    find_missing_right,
    read_guix_authorizations,
    read_sequoia_policy,
)

STEPS: Final = 1 << 18  # signed commits that one search may look at

_PARSED: Final = 64  # files that are kept

Kind = Literal["commit", "tag"]


class Evidence(Protocol):
    """What a history shows; each raises `PolicyRefused` with the reason."""

    def file_id(self, commit: ObjectId, name: str) -> ObjectId | None:
        """The blob that is the regular file ``name`` at the top of the commit's tree."""

    def blob(self, oid: ObjectId, limit: int) -> bytes:
        """A blob of at most ``limit`` bytes."""

    def signer(self, oid: ObjectId, kind: Kind) -> Fingerprint:
        """Whose good signature it carries, by the node's own keyring and allowed signers."""

    def signer_in(self, oid: ObjectId, kind: Kind, ring: Keyring) -> Fingerprint:
        """Whose good signature it carries, by the keys of ``ring``."""

    def signing_key(self, oid: ObjectId) -> Fingerprint | None:
        """The primary key or subkey that its OpenPGP signature, found good, was made with."""


def latest_policy(policy: Policy, evidence: Evidence, target: ObjectId) -> ObjectId | None:
    """The blob of the ``openpgp-policy.toml`` at a commit, if the policy asks for that file; see `StepJudge`."""
    with contextlib.suppress(PolicyRefused):
        return evidence.file_id(target, SEQUOIA) if SEQUOIA in policy.files else None
    return None


class Steps(Protocol):
    """A history as the search sees it."""

    def parents(self, commit: ObjectId) -> Sequence[ObjectId]:
        """Those parents, in their order, from which the start may be reached."""

    def objection(self, child: ObjectId, parent: ObjectId) -> Reason | None:
        """Why the child may not follow this parent."""


class NoWay(PolicyRefused):
    """There is no way to a commit; ``reason`` is what stands against the newest step, first parents first."""

    def __init__(self, why: Reason) -> None:
        super().__init__(why.text, why.cause or "no-way")
        self.why = why

    def to_reason(self, rule: Rule, about: ObjectId) -> Reason:
        """What the search found."""
        return self.why


def find_way(start: ObjectId, target: ObjectId, steps: Steps, closed: dict[ObjectId, Reason]) -> list[ObjectId]:
    """The commits of a way from ``start`` to ``target``, both included, oldest first; raises `NoWay`.

    Whether a way leads to a commit does not depend on how the search came to it: each is looked at once, however many
    merges there are. ``closed`` are those to which no way leads, and why, for the next search from the same start.
    """
    if target in closed:
        raise NoWay(closed[target])
    way = [target]
    left = [iter(steps.parents(target) if target != start else ())]
    first: list[Reason | None] = [None]  # what stood against the way on from each commit
    looked_at = 0
    while way and way[-1] != start:
        parent = next(left[-1], None)
        if parent is None:
            reason = first.pop() or _no_way(way[-1], f"no way leads to {way[-1].hex()} from {start.hex()}")
            closed[way.pop()] = reason
            left.pop()
            if not way:
                raise NoWay(reason)
            first[-1] = first[-1] or reason
            continue
        if parent in closed:
            first[-1] = first[-1] or closed[parent]
            continue
        looked_at += 1
        if looked_at > STEPS:
            raise NoWay(_no_way(target, f"over the limit: no way is found among {STEPS} commits; give a newer root="))
        reason_against = steps.objection(way[-1], parent)
        if reason_against is not None:
            first[-1] = first[-1] or reason_against
            continue
        way.append(parent)
        left.append(iter(steps.parents(parent) if parent != start else ()))
        first.append(None)
    return way[::-1]


def _no_way(commit: ObjectId, text: str) -> Reason:
    return refused("path", commit.hex(), text, "no-way")


class StepJudge:
    """Whether one commit may follow another, or a tag name a commit, under one policy of the kind `path`.

    ``latest`` is the blob of the ``openpgp-policy.toml`` where the way leads: what that knows of a key counts for the
    key's earlier signatures. So does each revocation in a policy that the search has met: it goes from the newest
    commit back, so it has met all that come later on the way, also of keys that the newest policy has no more.
    """

    def __init__(self, policy: Policy, evidence: Evidence, own: Keyring | None, latest: ObjectId | None) -> None:
        self._policy = policy
        self._evidence = evidence
        self._own = own
        self._parsed: dict[ObjectId, SequoiaPolicy | GuixAuthorizations] = {}
        self._rings: dict[ObjectId, Keyring] = {}
        self._revoked: Keys = {}
        self._met: set[ObjectId] = set()
        self._latest: SequoiaPolicy | None = None
        if latest is not None:
            with contextlib.suppress(PolicyRefused, BadTreePolicy):  # then the step to there will not do
                self._latest = self._sequoia(latest)

    def objection(self, child: ObjectId, parent: ObjectId) -> Reason | None:
        """Why ``child`` may not follow ``parent``; None if it may."""
        try:
            self._check(child, "commit", parent)
        except (PolicyRefused, BadTreePolicy) as error:
            cause = error.cause if isinstance(error, PolicyRefused) else "tree-policy"
            return refused("path", child.hex(), f"{error.reason} ({child.hex()})", cause)
        return None

    def check_tag(self, tag: ObjectId, commit: ObjectId) -> None:
        """Raise `PolicyRefused` unless the policy at the commit lets the tag's signer sign tags."""
        try:
            self._check(tag, "tag", commit)
        except BadTreePolicy as error:
            raise PolicyRefused(error.reason, "tree-policy") from None

    def _check(self, oid: ObjectId, kind: Kind, parent: ObjectId) -> None:
        signers = []
        for name in sorted(self._policy.files):
            before = self._evidence.file_id(parent, name)
            after = self._evidence.file_id(oid, name) if kind == "commit" else before
            if before is None:
                raise PolicyRefused(f"{parent.hex()} has no {name}, so nobody may sign what follows", "tree-policy")
            if name == SEQUOIA:
                signers.append(self._by_sequoia(oid, kind, parent, before, after))
            else:
                signers.append(self._by_guix(oid, kind, parent, before, after))
        named = self._policy.signers
        if not signers:
            signers = [self._evidence.signer(oid, kind)]
            if named is None and not is_ssh_key(signers[0]):
                named = frozenset() if self._own is None else self._own.everybody
        for signer in signers:
            if named is not None and signer not in named:
                raise PolicyRefused(f"{signer} may not sign this", "not-allowed")

    def _by_sequoia(
        self, oid: ObjectId, kind: Kind, parent: ObjectId, before_id: ObjectId, after_id: ObjectId | None
    ) -> Fingerprint:
        before = self._sequoia(before_id)
        if after_id is not None and after_id not in self._met:
            self._meet(after_id)
        try:
            signer = self._evidence.signer_in(oid, kind, self._ring(before_id, before))
        except PolicyRefused:
            # What a revoked key signed counts if it counted before the revocation, and somebody has audited it since.
            if self._latest is None or oid.hex() not in self._latest.goodlist:
                raise
            signer = self._evidence.signer_in(oid, kind, keyring_of(before.keys))
        rights = before.rights_of(signer)
        if f"sign_{kind}" not in rights:
            raise PolicyRefused(f"{signer} has no right sign_{kind} in the {SEQUOIA} of {parent.hex()}", "not-allowed")
        if after_id != before_id:
            after = SequoiaPolicy() if after_id is None else self._sequoia(after_id)
            missing = find_missing_right(before, after, rights)
            if missing is not None:
                raise PolicyRefused(missing, "tree-policy")
        return signer

    def _meet(self, policy_id: ObjectId) -> None:
        """Note the keys that a policy says are revoked."""
        self._met.add(policy_id)
        with contextlib.suppress(PolicyRefused, BadTreePolicy):  # then the step to it will not do
            revoked = {f: key for f, key in self._sequoia(policy_id).keys.items() if key.has_revocation()}
            if revoked:
                merge_keys(self._revoked, revoked)
                self._rings.clear()

    def _ring(self, policy_id: ObjectId, policy: SequoiaPolicy) -> Keyring:
        """The keys of a policy, with what later policies and this node's own ring know of each."""
        ring = self._rings.get(policy_id)
        if ring is None:
            keys: Keys = {}
            merge_keys(keys, policy.keys)
            latest = self._latest.keys if self._latest else {}
            for more in (latest, self._revoked, self._own.keys if self._own else {}):
                merge_keys(keys, {f: more[f] for f in policy.keys if f in more})
            ring = keyring_of(keys)
            _keep(self._rings, policy_id, ring)
        return ring

    def _by_guix(
        self, oid: ObjectId, kind: Kind, parent: ObjectId, before_id: ObjectId, after_id: ObjectId | None
    ) -> Fingerprint:
        before = self._guix(before_id)
        if after_id is None:
            raise PolicyRefused(f"it removes {GUIX}", "tree-policy")
        if after_id != before_id:
            self._guix(after_id)  # or nobody could follow
        signer = self._evidence.signer(oid, kind)
        if signer not in before.signers and self._evidence.signing_key(oid) not in before.signers:
            raise PolicyRefused(f"{signer} is not in the {GUIX} of {parent.hex()}", "not-allowed")
        return signer

    def _sequoia(self, oid: ObjectId) -> SequoiaPolicy:
        found = self._parsed.get(oid)
        if not isinstance(found, SequoiaPolicy):
            found = read_sequoia_policy(self._evidence.blob(oid, FILE_BYTES))
            _keep(self._parsed, oid, found)
        return found

    def _guix(self, oid: ObjectId) -> GuixAuthorizations:
        found = self._parsed.get(oid)
        if not isinstance(found, GuixAuthorizations):
            found = read_guix_authorizations(self._evidence.blob(oid, FILE_BYTES))
            _keep(self._parsed, oid, found)
        return found


T = TypeVar("T")


def _keep(kept: dict[ObjectId, T], oid: ObjectId, value: T) -> None:
    """Keep the last few."""
    kept[oid] = value
    while len(kept) > _PARSED:
        del kept[next(iter(kept))]
