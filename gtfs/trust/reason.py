# SPDX-License-Identifier: GPL-3.0-or-later
"""Reasons as values: which rule was applied to what, how it came out, and what a maintainer can do (design.md §10).

Judges make them as they judge; nothing here judges. Texts are for people: nobody compares them. Any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Rule = Literal[
    "ref", "object", "pack", "catalogue", "freshness", "keyring", "policy", "here", "let-in", "history", "tag", "path",
    "way", "every-commit", "signature", "quorum", "sign-off",
]  # fmt: skip
"""What was asked: a ref, an object or a pack as a whole, or one of the rules that it has to meet."""

Verdict = Literal["holds", "waits", "refused", "note"]
"""``waits``: it lacks what may still come. ``note``: it is told, and decides nothing."""

Cause = Literal[
    "unsigned", "unknown-key", "no-keyring", "not-allowed", "expired", "made-after-expiry", "revoked", "weak-digest",
    "not-good", "clock", "no-tag", "tag-name", "no-way", "no-start", "tree-policy", "ssh-keys", "not-listed",
    "not-forward", "tag-in-branch", "not-here", "damaged", "unreadable", "limit", "quorum", "stale", "two-catalogues",
    "fallen", "no-catalogue", "not-attested", "settled-elsewhere",
]  # fmt: skip
"""Why a rule does not hold."""

_ADVICE: Final[dict[Cause, str]] = {
    "unsigned": "sign it (git commit -S, git tag -s) and publish it again",
    "unknown-key": "if that key may sign: gtfs trust REPO add FILE, with a keyring that has it",
    "no-keyring": "give one: gtfs trust REPO add FILE",
    "not-allowed": "have it signed by one who is named, or name the key in by= of the policy line",
    "expired": "have the key extended, and give its new copy: gtfs trust REPO add FILE",
    "made-after-expiry": "give a newer copy of the key: gtfs trust REPO add FILE; else it is to be signed again",
    "revoked": "have it signed again, by a key that is good",
    "weak-digest": "sign it again with SHA-256 or SHA-512 (gpg --digest-algo SHA512)",
    "not-good": "have it signed again; if it was good where it was made, it was changed on its way",
    "clock": "set the clocks, of this machine or of the signer's",
    "no-tag": "sign a tag that names it (git tag -s) and publish the tag",
    "tag-name": "make and sign a tag of the ref's own name",
    "no-way": "let one whom the parent's policy names merge or sign it, or give a newer root=OID",
    "no-start": "give the policy line a commit that you trust: root=OID",
    "tree-policy": "let one who has the right change the policy file, in a commit of its own",
    "ssh-keys": "if that key may sign, write it into gtfs/allowed_signers in the repository, see gtfs-trust(7)",
    "not-listed": "have its publisher publish it (gtfs publish), or have it signed",
    "not-forward": "publish what descends from it, or let the policy line say non-fast-forward",
    "tag-in-branch": "publish the commit under the branch, and the tag under refs/tags/",
    "not-here": "gtfs sync fetches it",
    "damaged": "take it anew from another place",
    "unreadable": "gtfs fsck REPO says what is lost, gtfs sync brings it again",
    "limit": "raise the limit if this is really wanted, see gtfs(1)",
    "quorum": "ask those whose sign-offs are missing, and give where to find them: -o attester=SOURCE",
    "not-attested": "ask the attester to verify it: gtfs sync and gtfs publish there",
    "stale": "have the publisher publish or refresh it, and gtfs sync here; or set this machine's clock",
    "two-catalogues": "ask the publisher which one is meant; both are kept in catalogue/",
    "fallen": "wait for the publisher's next catalogue, by another key; or ask for the last good one: gtfs rewind",
    "no-catalogue": "gtfs sync SOURCE --into REPO",
    "settled-elsewhere": "gtfs sync moves it, or says what hinders git",
}


@dataclass(frozen=True)
class Reason:
    """How one rule came out for one thing, and because of what."""

    rule: Rule
    subject: str  # an object id, a ref, a fingerprint, a file, or the digest of a catalogue or keyring
    verdict: Verdict
    text: str = ""
    cause: Cause | None = None  # of one that does not hold
    who: tuple[str, ...] = ()  # primary fingerprints
    when_s: int | None = None
    at: str | None = None  # when the key had to be good: `Policy.at`
    because: tuple[Reason, ...] = ()

    @property
    def advice(self) -> str:
        """What a maintainer can do; "" where nothing has to be done."""
        return "" if self.cause is None or self.verdict not in ("refused", "waits") else _ADVICE[self.cause]

    def describe(self) -> dict[str, Any]:
        """As gtfs(1) documents it under JSON."""
        return {
            "rule": self.rule,
            "subject": self.subject,
            "verdict": self.verdict,
            "text": self.text,
            "cause": self.cause,
            "advice": self.advice,
            "who": list(self.who),
            "when": self.when_s,
            "at": self.at,
            "because": [reason.describe() for reason in self.because],
        }

    def blamed(self) -> list[Reason]:
        """The reasons below that do not hold and for which no other is given, in their order."""
        below = [found for reason in self.because for found in reason.blamed()]
        return below if below or self.verdict not in ("refused", "waits") else [self]


def refused(rule: Rule, subject: str, text: str, cause: Cause) -> Reason:
    """One that does not hold."""
    return Reason(rule, subject, "refused", text, cause)


def verdict_of(reasons: Sequence[Reason]) -> Verdict:
    """What follows from rules that must all hold: one that is refused weighs more than one that waits."""
    verdicts = {reason.verdict for reason in reasons}
    return "refused" if "refused" in verdicts else "waits" if "waits" in verdicts else "holds"
