# SPDX-License-Identifier: GPL-3.0-or-later
"""What `refjudge` found of one ref that it was asked to tell about, as `gtfs.trust.reason` values. One thread.

It decides nothing: the judge notes here what holds, at the place where it has found that.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from gtfs.ids import Fingerprint, ObjectId
from gtfs.ingest.quorum import Collected, Quorum
from gtfs.ingest.signers import Signers
from gtfs.trust.reason import Reason, Rule, Verdict
from gtfs.trust.verify import At

SHOWN: Final = 10  # newest commits of a history whose signatures are told each


class Trail:
    """Of one ref; ``found`` are the rules that hold, in the order in which they were judged."""

    def __init__(self) -> None:
        self.found: list[Reason] = []
        self._signers: Counter[Fingerprint] = Counter()
        self._newest: deque[ObjectId] = deque(maxlen=SHOWN)

    def forward(self, old: ObjectId | None, new: ObjectId) -> None:
        """The move loses no history."""
        if old is not None and old != new:
            text = f"it descends from {old.hex()}, where the ref stands or a catalogue had it"
            self.found.append(Reason("history", new.hex(), "holds", text))

    def signed(self, oid: ObjectId, rule: Rule, at: At, signers: Signers) -> None:
        """A tag object has a good signature by one who may."""
        signature = signature_of(oid, at, signers)
        text = "the tag object is signed by one who may"
        self.found.append(Reason(rule, oid.hex(), "holds", text, who=signature.who, because=(signature,)))

    def meet(self, commit: ObjectId, signer: Fingerprint) -> None:
        """A commit of the history is signed by one who may; they come parents first."""
        self._signers[signer] += 1
        self._newest.append(commit)

    def every_commit(self, tip: ObjectId, at: At, signers: Signers) -> None:
        """So are all commits."""
        count = sum(self._signers.values())
        text = f"all {count} commits are signed by those who may, {len(self._signers)} keys"
        newest = tuple(signature_of(oid, at, signers) for oid in reversed(self._newest))
        who = tuple(signer for signer, _ in self._signers.most_common())
        self.found.append(Reason("every-commit", tip.hex(), "holds", text, who=who, because=newest))

    def ways(self, ways: Sequence[Sequence[ObjectId]], at: At, signers: Signers) -> None:
        """There is a way from every start."""
        below = []
        for way in ways:
            newest = tuple(signature_of(oid, at, signers) for oid in reversed(way[1:][-SHOWN:]))
            text = f"a way of {len(way) - 1} commits leads from it, each signed by one whom its parent's policy lets"
            who = tuple(dict.fromkeys(f for reason in newest for f in reason.who))
            below.append(Reason("way", way[0].hex(), "holds", text, who=who, because=newest))
        self.found.append(
            Reason("path", ways[0][-1].hex(), "holds", f"{len(ways)} of {len(ways)} starts", because=tuple(below))
        )

    def quorum(self, quorum: Quorum, collected: Collected) -> None:
        """How far it has come: what each attester said; whether that is enough is the judge's to say."""
        below = [_sign_off(f, "holds", quorum, collected) for f in quorum.have]
        below += [_sign_off(f, "note", quorum, collected) for f in quorum.missing]
        if quorum.is_met:
            self.found.append(Reason("quorum", "", "holds", quorum.reason, who=quorum.have, because=tuple(below)))
        else:
            self.found += below


def _sign_off(attester: Fingerprint, verdict: Verdict, quorum: Quorum, collected: Collected) -> Reason:
    said = collected.good.get(attester)
    if said is None or attester in quorum.useless:
        text = quorum.useless.get(attester, "nothing of it is known here")
        return Reason("sign-off", attester, verdict, text)
    text = f"it verified version {said.version} of {said.repository}"
    if verdict != "holds":
        text += ", and not this"
    return Reason("sign-off", attester, verdict, text, who=(attester,), when_s=said.date_s)


def signature_of(oid: ObjectId, at: At, signers: Signers) -> Reason:
    """The signature that was found good of a commit or tag; of an SSH key there is no time."""
    found = signers.evidence(oid)
    if found is None:
        return Reason("signature", oid.hex(), "holds", "it was found good", at=at)
    when = "when it was made" if at == "made" else "now"
    text = f"by a key that {'was' if at == 'made' else 'is'} good {when}"
    if found.part != found.primary:
        text += f", with its subkey {found.part}"
    return Reason("signature", oid.hex(), "holds", text, who=(found.primary,), when_s=found.made_s or None, at=at)
