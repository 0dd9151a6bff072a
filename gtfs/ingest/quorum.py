# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-offs by others: who of a policy's attesters has verified what a ref would move to (design.md §10). One thread.

Attestations come here verified; whether each counts for this commit or tag is decided by what is here now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gtfs.ids import Fingerprint, ObjectId
from gtfs.pack.format import TAG
from gtfs.reel.index import Index
from gtfs.repo.history import commits_reachable
from gtfs.repo.repository import GitFailed, Repository
from gtfs.trust.attestation import Attestation
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import Policy

_NAMED: Final = 3  # attesters in a line


class Collected(NamedTuple):
    """What attesters say that counts now, and why what others said does not; by primary fingerprints."""

    good: Mapping[Fingerprint, Attestation]
    useless: Mapping[Fingerprint, str]


NOTHING_COLLECTED: Final = Collected({}, {})


@dataclass(frozen=True)
class Quorum:
    """How far a ref that needs sign-offs has come; primary fingerprints, sorted."""

    needed: int
    have: tuple[Fingerprint, ...]
    missing: tuple[Fingerprint, ...]  # of whom one would count
    useless: Mapping[Fingerprint, str] = field(default_factory=dict)  # of those that are missing, why what is kept of
    # them does not count

    @property
    def is_met(self) -> bool:
        """Whether the ref waits no more."""
        return len(self.have) >= self.needed

    @property
    def reason(self) -> str:
        """Why the ref stays, if it does."""
        counts = f"{len(self.have)} of {self.needed} sign-offs: has {_list(self.have) or 'none'}"
        if self.is_met:
            return counts
        more = self.needed - len(self.have)
        if len(self.missing) < more:
            return f"{counts}; no more than {len(self.have) + len(self.missing)} attesters count here"
        some = "" if len(self.missing) == more else f"{'one' if more == 1 else more} of "
        why = "".join(f"; {who}: {reason}" for who, reason in sorted(self.useless.items())[:_NAMED])
        return f"{counts}; waits for {some}{_list(self.missing)}{why}"


def _list(fingerprints: Sequence[Fingerprint]) -> str:
    more = f" and {len(fingerprints) - _NAMED} more" if len(fingerprints) > _NAMED else ""
    return ", ".join(fingerprints[:_NAMED]) + more


def find_quorums(
    repository: Repository,
    index: Index,
    wanted: Mapping[bytes, ObjectId],
    policies: Mapping[bytes, Policy],
    keyring: Keyring | None,
    collected: Collected,
) -> dict[bytes, Quorum]:
    """Of the refs that shall be at ``wanted``, how far those have come that need sign-offs. All are unpacked here.

    Whoever names another pack than this node has of anything counts for nothing.
    """
    asked = {name: oid for name, oid in wanted.items() if policies[name].quorum}
    if not asked:
        return {}
    vouched: dict[Fingerprint, set[ObjectId]] = {}
    useless = dict(collected.useless)
    for attester, said in collected.good.items():
        other = other_pack(index, said)
        if other is None:
            vouched[attester] = _vouched(repository, index, said, set(asked.values()))
        else:
            useless[attester] = f"names another pack of {other.hex()} than this node has"
    found = {}
    for name, oid in asked.items():
        counting = _attesters(policies[name], keyring)
        have = frozenset(attester for attester in counting if oid in vouched.get(attester, ()))
        missing = counting - have
        why = {attester: reason for attester, reason in useless.items() if attester in missing}
        found[name] = Quorum(policies[name].quorum, tuple(sorted(have)), tuple(sorted(missing)), why)
    return found


def _attesters(policy: Policy, keyring: Keyring | None) -> frozenset[Fingerprint]:
    """Whose sign-offs count here: whom the ring has now, as primary keys."""
    if keyring is None:
        return frozenset()
    return keyring.everybody if policy.attesters is None else policy.attesters & keyring.primaries


def short_of_attesters(policies: Sequence[Policy], keyring: Keyring | None) -> list[tuple[Policy, int]]:
    """The lines that a node with this ring could never meet, and how many of their attesters it has."""
    counting = [(policy, len(_attesters(policy, keyring))) for policy in policies if policy.quorum]
    return [(policy, count) for policy, count in counting if count < policy.quorum]


def other_pack(index: Index, said: Attestation) -> ObjectId | None:
    """The first commit or tag of which this node has another pack than the attester names."""
    rows = index.packs.get_many(said.packs)
    differ = (oid for oid, row in rows.items() if row.stage == "unpacked" and row.digest != said.packs[oid])
    return min(differ, default=None)


def _vouched(repository: Repository, index: Index, said: Attestation, wanted: set[ObjectId]) -> set[ObjectId]:
    """What an attester verified: what it names, and the commits that those of its refs reach which are here."""
    named = wanted & said.packs.keys()
    rows = index.packs.get_many(wanted | said.packs.keys())
    left = {oid for oid in wanted - named if oid in rows and rows[oid].kind != TAG}
    tips = [oid for oid in said.packs if oid in rows and rows[oid].stage == "unpacked"]
    if not left or not tips:
        return named
    try:
        return named | (left - set(commits_reachable(repository, left, tips)))
    except GitFailed:  # what cannot be read is vouched for by nobody
        return named
