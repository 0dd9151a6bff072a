# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a ref, an object or a pack is accepted here or not, as `gtfs verify` tells: the judges of design.md §8 and §10
are asked anew, the ones that let in and that move refs, and what they say is put in order. Synchronous, any thread.

Nothing is moved, let in or recorded but signatures that were found.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gtfs.catalogue.accept import Held
from gtfs.errors import Blame, GtfsError
from gtfs.ids import BadId, Fingerprint, ObjectId, PackDigest, parse_object_id, parse_pack_name
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.ingest import Ingest
from gtfs.ingest.refjudge import policy_of
from gtfs.ingest.refmoves import explain_ref
from gtfs.pack.trees import MissingObject
from gtfs.reel.index import PackRow
from gtfs.repo.catfile import CatFile
from gtfs.repo.history import OWN_REFS, read_head, read_places
from gtfs.state.divergence import all_stay
from gtfs.state.listed import is_listed
from gtfs.state.state import State
from gtfs.trust.policy import Policy, PolicyRefused, Vouch, policy_for
from gtfs.trust.reason import Reason, Rule, refused, verdict_of
from gtfs.trust.stanza import write_time
from gtfs.trust.verify import BadSignature, read_clearsigned

_OBJECT_BYTES: Final = 1 << 30  # of a commit or tag; what comes in is limited to less
_REFS_SHOWN: Final = 5  # of those at one object
_VOUCHED: Final = {
    "local": "the owner of this repository vouches for it: there is neither catalogue nor keyring",
    "catalogue": "the accepted catalogue names its pack by SHA-256",
    "tag": "a signed tag reaches it",
    "signed": "it carries a good signature of its own, by one who may",
}


class NothingToVerify(GtfsError):
    """A word that names nothing here."""

    fault = Blame.SOURCE


def explain(state: State, words: Sequence[str]) -> dict[str, Any]:
    """What `gtfs verify` shows of each word: a ref, an id, ``<id>.pack``, or the absolute path of such a file.

    Raises `NothingToVerify`, `GitFailed`, `GpgvFailed`, OSError.
    """
    explainer = Explainer(state)
    judged = [explainer.judge(word) for word in words]
    return {
        "accepted": verdict_of(judged) == "holds",
        "exit_code": _exit_code(judged),
        "judged": [reason.describe() for reason in judged],
        "blamed": [[r.describe() | {"because": []} for r in reason.blamed()] for reason in judged],
    }


def _exit_code(judged: Sequence[Reason]) -> int:
    """What only has not come yet is no refusal."""
    blamed = [found for reason in judged for found in reason.blamed()]
    if not blamed:
        return 0
    return (Blame.NETWORK if all(r.cause == "not-here" for r in blamed) else Blame.TRUST).exit_code


class Explainer:
    """Explains by what holds now; the catalogue is looked at once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._places = {n: oid for n, oid in read_places(state.repository).items() if not n.startswith(OWN_REFS)}
        self._first = [*_catalogue(state), *_keyring(state)]

    def judge(self, word: str) -> Reason:
        """The whole chain for one word."""
        if word.startswith("/"):
            return self._file(Path(word))
        oid = parse_pack_name(Path(word).name)
        if oid is not None:
            return self._object(oid, is_pack=True)
        try:
            oid = parse_object_id(word)
        except BadId:
            return self._ref(self._name_of(word))
        return self._object(oid, is_pack=False)

    def _name_of(self, word: str) -> bytes:
        """The ref that a word means, as git would take it."""
        held = self._state.held
        listed = {} if held is None else held.catalogue.refs
        name = os.fsencode(word)
        if name == b"HEAD":
            head = held.catalogue.head if held is not None else read_head(self._state.repository)
            if head is not None:
                return head
        for before in (b"", b"refs/", b"refs/tags/", b"refs/heads/"):
            if before + name in listed or before + name in self._places:
                return before + name
        raise NothingToVerify(f"{word} names no ref, no whole id, and no pack that is known here")

    def _whole(self, rule: Rule, subject: str, because: Sequence[Reason]) -> Reason:
        chain = (*self._first, *because)
        return Reason(rule, subject, verdict_of(chain), because=chain)

    # -- refs

    def _ref(self, name: bytes) -> Reason:
        return self._whole("ref", _shown(name), self._of_ref(name))

    def _of_ref(self, name: bytes) -> list[Reason]:
        """What is judged of one ref: where the catalogue has it, or else where it stands."""
        state = self._state
        held, demands, now = state.held, state.demands(), self._places.get(name)
        wanted = now if held is None else held.catalogue.refs.get(name)
        if wanted is None:
            digest = "" if held is None else held.digest
            return [self._unlisted("catalogue", digest, f"the catalogue has no {_shown(name)}")]
        policy = policy_of(name, demands)
        found = [] if held is None else [_listed(held, name, wanted)]
        found.append(_policy(name, policy, demands.local, demands.catalogue))
        if policy.kind == "local":
            return [*found, Reason("let-in", wanted.hex(), "holds", _VOUCHED["local"])]
        return found + explain_ref(state.repository, state.index, name, wanted, demands)

    def _unlisted(self, rule: Rule, subject: str, text: str) -> Reason:
        """What a publisher has not published yet waits for that."""
        is_own = self._state.own_key() is not None
        return Reason(rule, subject, "waits" if is_own else "refused", text, "not-listed")

    # -- objects and packs

    def _object(self, oid: ObjectId, *, is_pack: bool) -> Reason:
        row = self._state.index.packs.get(oid)
        if row is None:
            raise NothingToVerify(f"{oid.hex()}: no commit or tag of this id is known here, listed or not")
        found = [self._here(row)]
        if row.stage == "unpacked":
            found += self._let_in(row)
        elif row.stage == "refused" and (candidate := self._candidate(row)) is not None:
            found = self._examined(candidate, candidate.promised if is_listed(self._state, row) else None)
        found += self._of_refs_at(oid)
        return self._whole("pack" if is_pack else "object", oid.hex(), found)

    def _here(self, row: PackRow) -> Reason:
        oid, digest = row.oid.hex(), "" if row.digest is None else f"; its pack has the SHA-256 {row.digest.hex()}"
        if row.stage == "unpacked":
            return Reason("here", oid, "holds", f"it is verified and in git{digest}")
        if row.stage == "refused":
            return refused("here", oid, f"it was refused when it came: {row.reason or 'unknown'}", "damaged")
        return Reason("here", oid, "waits", f"it is listed and not verified here ({row.stage}){digest}", "not-here")

    def _let_in(self, row: PackRow) -> list[Reason]:
        state = self._state
        with CatFile(state.repository) as reader:
            try:
                raw = reader.read(row.oid, _OBJECT_BYTES).data or b""
            except MissingObject:
                return [refused("here", row.oid.hex(), "git has lost it", "unreadable")]
        found = [self._judged(row.oid, row.kind or 0, raw, is_promised=is_listed(state, row))]
        own = state.index.signoffs.get(row.oid)
        if own is not None:
            text = f"this node signed it off, in {own.file}"
            found.append(Reason("sign-off", row.oid.hex(), "note", text, when_s=own.time_s))
        return found

    def _judged(self, oid: ObjectId, kind: int, raw: bytes, *, is_promised: bool) -> Reason:
        """Step 4, anew."""
        state = self._state
        if state.own_key() is not None and not is_promised:
            return self._unlisted("let-in", oid.hex(), "it is in the publisher's repository, and not published yet")
        try:
            return _vouched(oid, state.gate().judge(kind, raw, promised=is_promised))
        except PolicyRefused as error:
            return error.to_reason("let-in", oid)

    def _of_refs_at(self, oid: ObjectId) -> list[Reason]:
        """The refs that the catalogue, or without one git, has at an object, each as a whole."""
        held = self._state.held
        places = self._places if held is None else held.catalogue.refs
        names = [name for name, place in places.items() if place == oid]
        found = []
        for name in names[:_REFS_SHOWN]:
            because = tuple(self._of_ref(name))
            found.append(Reason("ref", _shown(name), verdict_of(because), because=because))
        if len(names) > _REFS_SHOWN:
            found.append(Reason("ref", oid.hex(), "note", f"and {len(names) - _REFS_SHOWN} more refs are there"))
        return found

    def _candidate(self, row: PackRow) -> Candidate | None:
        """The bytes of a pack in a reel that is whole here."""
        reel = None if row.reel is None else self._state.index.reels.get(row.reel)
        if reel is None or not reel.is_whole:
            return None
        path = self._state.layout.reel(reel.name)
        return Candidate(row.oid, path, row.offset or 0, row.size, row.digest, is_ours=True)

    def _file(self, path: Path) -> Reason:
        oid = parse_pack_name(path.name)
        if oid is None:
            raise NothingToVerify(f"{path} is not called <id>.pack, so it can be nobody's pack")
        candidate = Candidate(oid, path, 0, path.stat().st_size, None, is_ours=False)
        return self._whole("pack", str(path), [*self._examined(candidate, None), *self._of_refs_at(oid)])

    def _examined(self, candidate: Candidate, promised: PackDigest | None) -> list[Reason]:
        """Steps 1 to 4 for bytes that are here; a file's are promised if they are those that the catalogue names."""
        state, oid = self._state, candidate.oid
        with Ingest(
            state.repository, state.index, state.open_reel, state.gate(), state.sign_off, state.limits
        ) as ingest:
            try:
                found = ingest.scan(candidate)
                if promised is None:
                    row = state.index.packs.get(oid)
                    is_named = row is not None and row.digest == found.scan.digest and is_listed(state, row)
                    promised = found.scan.digest if is_named else None
                ingest.check(found, promised)
            except PolicyRefused as error:
                return [error.to_reason("let-in", oid)]
            except GtfsError as error:
                if not error.fault.is_refusal:
                    raise
                return [refused("pack", oid.hex(), str(error), "damaged")]
        listed = "as the accepted catalogue names it" if promised is not None else "which no catalogue names"
        text = f"whole and sound, {len(found.scan.entries)} objects; SHA-256 {found.scan.digest.hex()}, {listed}"
        chain = [Reason("pack", oid.hex(), "holds", text)]
        rows = state.index.packs.get_many(found.parents)
        absent = [p for p in found.parents if p not in rows or rows[p].stage != "unpacked"]
        if absent:
            text = f"{absent[0].hex()}, which it stands on, is not verified here"
            chain.append(Reason("here", absent[0].hex(), "waits", text, "not-here"))
        chain.append(self._judged(oid, found.kind, found.raw, is_promised=promised is not None))
        return chain


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _catalogue(state: State) -> list[Reason]:
    """The held catalogue, which was accepted when it came, and whether refs may move by it now."""
    held = state.held
    if held is None:
        return []
    c = held.catalogue
    stay = all_stay(state)
    signatures = _signatures(state, held)
    good = tuple(f for reason in signatures for f in reason.who)
    by_named = len(set(good) & set(c.signers))
    words = (
        f"version {c.version} of {c.repository}, digest {held.digest}; of the {len(c.signers)} signers that it names"
    )
    words += f" {c.threshold} have to sign, and it is good today by {by_named}"
    found = Reason("catalogue", held.digest, "holds", words, who=good, when_s=c.date_s, because=tuple(signatures))
    if stay is not None and stay.rule == "catalogue":
        found = Reason("catalogue", held.digest, "refused", words, because=(stay, *signatures))
    return [found, stay if stay is not None and stay.rule == "freshness" else _freshness(state, held)]


def _freshness(state: State, held: Held) -> Reason:
    """Until when it counts, and who says so beside the catalogue itself."""
    said = state.fresh
    if said is None or said.valid_until_s <= held.catalogue.valid_until_s:
        until = write_time(held.catalogue.valid_until_s)
        return Reason("freshness", held.digest, "holds", f"by its own Valid-Until until {until}")
    signers = frozenset((*held.catalogue.signers, *held.catalogue.freshness))
    below = _signatures_of(state, held.digest, state.catalogues.freshness(said.version) or b"", signers)
    who = tuple(f for reason in below for f in reason.who)
    text = f"a freshness statement says until {write_time(said.valid_until_s)} that it is the newest"
    return Reason("freshness", held.digest, "holds", text, None, who, said.date_s, because=tuple(below))


def _signatures(state: State, held: Held) -> list[Reason]:
    """Who signed it, as far as that holds today: it was judged when it came, so nothing here refuses it."""
    before = state.catalogues.before(held.catalogue.version)
    allowed = None if before is None else frozenset((*before.catalogue.signers, *held.catalogue.signers))
    return _signatures_of(state, held.digest, held.document, allowed)


def _signatures_of(state: State, subject: str, document: bytes, allowed: frozenset[Fingerprint] | None) -> list[Reason]:
    """The signatures of a document as they are judged now; ``allowed`` None: by any key of the ring."""
    if state.keyring is None:
        return []
    allowed = state.keyring.primaries if allowed is None else allowed
    try:
        signed = read_clearsigned(document, state.keyring, allowed, now_s=int(time.time()))
    except BadSignature as error:
        return [Reason("signature", subject, "note", f"not good any more: {error.reason}", error.cause)]
    found = [
        Reason("signature", subject, "holds", "by a key that is good now", None, (s.primary,), s.made_s, "now")
        for s in signed.signatures
    ]
    return found + [
        Reason("signature", subject, "note", f"not good any more: {rejected}", rejected.error.cause)
        for rejected in signed.rejected
    ]


def _keyring(state: State) -> list[Reason]:
    ring = state.keyring
    if ring is None:
        return []
    return [Reason("keyring", ring.digest.hex(), "note", f"{len(ring.primaries)} keys, digest {ring.digest.hex()}")]


def _listed(held: Held, name: bytes, oid: ObjectId) -> Reason:
    return Reason("catalogue", held.digest, "holds", f"it has {_shown(name)} at {oid.hex()}")


def _policy(name: bytes, policy: Policy, local: Sequence[Policy], theirs: Sequence[Policy] | None) -> Reason:
    """What holds for a ref, and the lines of which that is made."""
    lines = [("this node's", policy_for(name, local)), ("the catalogue's", policy_for(name, theirs or ()))]
    below = tuple(Reason("policy", _shown(name), "note", f"{whose}: {p.to_line()}") for whose, p in lines if p)
    text = policy.to_line() + (f", and {policy.also.to_line()}" if policy.also is not None else "")
    return Reason("policy", _shown(name), "note", text, because=below)


def _vouched(oid: ObjectId, vouch: Vouch) -> Reason:
    made_s = None if vouch.found is None else vouch.found.made_s
    return Reason("let-in", oid.hex(), "holds", _VOUCHED[vouch.kind], None, vouch.signers, made_s)
