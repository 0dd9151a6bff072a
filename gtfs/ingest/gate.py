# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 4 of design.md §8: whether a commit or tag may come in; refs are for `refmoves`. Any thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from gtfs.ids import ObjectId
from gtfs.pack.format import COMMIT
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import Policy, Vouch, effective_policy, judge_object
from gtfs.trust.several import Search, SignedRaw

# A line is about every branch if it matches these two, which no branch is called: `*` may stand for no `/`, and a line
# has 8 stars at most.
_SHALLOW = b"refs/heads/\0"
_DEEP = _SHALLOW + b"/\0" * 8


def _about_every_branch(lines: Sequence[Policy]) -> list[Policy]:
    return [line for line in lines if line.matches(_SHALLOW) and line.matches(_DEEP)]


@dataclass(frozen=True)
class PolicyGate:
    """What this node demands. ``catalogue`` is the accepted catalogue's policy lines, None without a catalogue.

    An object has no ref yet, so the lines for every ref count: without catalogue and keyring the owner vouches;
    else a pack that an accepted catalogue names comes in on the catalogue's word, unless every commit must be signed,
    and any other needs a good signature of its own, by a key that is good now.
    """

    local: Sequence[Policy] = ()
    catalogue: Sequence[Policy] | None = None
    keyring: Keyring | None = None
    accepted_faults: frozenset[ObjectId] = frozenset()  # what the catalogue's Accepted-Faults names

    def search(self, signed: SignedRaw, *, promised: bool) -> Search | None:
        """The search for the signature that `judge` asks for, None where it asks for none."""
        policy = self._policy(promised=promised)
        if self.keyring is None or policy.kind in ("local", "catalogue"):
            return None
        return Search(signed, self.keyring, policy.signers)

    def judge(self, kind: int, raw: bytes, *, promised: bool, search: Search | None = None) -> Vouch:
        """Who vouches for it; ``search`` is one that was begun ahead. Raises `PolicyRefused`."""
        policy = self._policy(promised=promised)
        begun = search is not None and self.keyring is not None and search.is_by(self.keyring, policy.signers)
        return judge_object(
            raw, "commit" if kind == COMMIT else "tag", policy, self.keyring,
            now_s=int(time.time()), vouched_by_catalogue=promised,
            found=search.result() if search is not None and begun else None,
        )  # fmt: skip

    def _policy(self, *, promised: bool) -> Policy:
        return self._policy_of_promised if promised else self._policy_of_others

    @cached_property
    def _policy_of_promised(self) -> Policy:
        return self._find_policy(promised=True)

    @cached_property
    def _policy_of_others(self) -> Policy:
        return self._find_policy(promised=False)

    def _find_policy(self, *, promised: bool) -> Policy:
        catalogue = None if self.catalogue is None else _about_every_branch(self.catalogue)
        policy = effective_policy(
            _SHALLOW, _about_every_branch(self.local), catalogue, has_keyring=self.keyring is not None
        )
        if policy.kind == "path":  # which way leads to it, only refs can tell
            policy = policy.also or Policy(policy.pattern, "catalogue", signers=policy.signers)
        if policy.kind in ("catalogue", "tag") and not promised:
            policy = Policy(policy.pattern, "every-commit", signers=policy.signers, strict_expiry=policy.strict_expiry)
        elif policy.kind == "tag":
            policy = Policy(policy.pattern, "catalogue")
        return policy
