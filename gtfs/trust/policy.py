# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies: what a ref demands before it moves, and whether one commit or tag meets it (design.md §10).

A policy is one line: ``PATTERN KIND [threshold=K] [attesters=FPR,FPR] [by=FPR,FPR] [file=NAME] [root=OID]
[non-fast-forward] [strict-expiry]``. Of several lines the first whose pattern matches counts; a local line can only
tighten the catalogue's. What `path` demands of a history is for `gtfs.trust.path`. Any thread; judging may run gpgv.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, Literal

from gtfs.errors import Blame, GtfsError
from gtfs.ids import BadId, Fingerprint, ObjectId, parse_fingerprint, parse_object_id, parse_signer
from gtfs.trust.gpgv import BadSignature
from gtfs.trust.keyring import Keyring
from gtfs.trust.objects import BadSignedObject, split_signed_object, tag_name
from gtfs.trust.packets import SIGNATURE_BLOCK, BadPackets, dearmor, only_issuer_of, only_signatures
from gtfs.trust.reason import Cause, Reason, Rule, refused
from gtfs.trust.refnames import BadRefName, decode_name, encode_name
from gtfs.trust.verify import SIGNATURE_BYTES, At, FoundSignature, find_detached, judge_found

PolicyKind = Literal["local", "catalogue", "tag", "path", "every-commit"]
VouchKind = Literal["local", "catalogue", "tag", "signed"]

# `path` is neither stricter nor looser than `tag` and `every-commit`: beside one of these both hold.
_STRICTNESS: Final[dict[str, int]] = {"local": 0, "catalogue": 1, "tag": 2, "path": 2, "every-commit": 3}
_KINDS: Final[dict[str, PolicyKind]] = {
    "local": "local",
    "catalogue": "catalogue",
    "tag": "tag",
    "path": "path",
    "every-commit": "every-commit",
}
_FORM: Final = (
    "PATTERN KIND [threshold=K] [attesters=FPR,FPR] [by=FPR,FPR] [file=NAME] [root=OID]"
    " [non-fast-forward] [strict-expiry]"
)
THRESHOLD_MOST: Final = 64
TREE_FILES: Final = ("openpgp-policy.toml", ".guix-authorizations")  # which `path` can read who may sign from
_TAGS: Final = b"refs/tags/"


class BadPolicy(GtfsError):
    """A policy line that cannot be understood; it is never half applied."""

    fault = Blame.USAGE

    def __init__(self, line: str, reason: str) -> None:
        super().__init__(f"policy line {line[:120]!r}: {reason}")
        self.reason = reason


class PolicyRefused(GtfsError):
    """A commit or tag that nobody who may has vouched for; ``reason`` says what is missing."""

    fault = Blame.TRUST

    def __init__(self, reason: str, cause: Cause = "not-good", subject: ObjectId | None = None) -> None:
        super().__init__(f"refused by policy: {reason}")
        self.reason = reason
        self.cause = cause
        self.subject = subject  # the commit or tag at fault, if that is another one than what was asked about

    def to_reason(self, rule: Rule, about: ObjectId) -> Reason:
        """The same as a value; ``about`` is what was asked about."""
        return refused(rule, (about if self.subject is None else self.subject).hex(), self.reason, self.cause)


@dataclass(frozen=True)
class Policy:
    """What the refs that ``pattern`` matches demand."""

    pattern: bytes  # a ref name in which * stands for anything but /, and ** for anything
    kind: PolicyKind
    threshold: int = 0  # sign-offs by that many distinct primary keys before the ref moves
    signers: frozenset[Fingerprint] | None = None  # who may sign tags or commits; None: every key of the keyring
    non_fast_forward: bool = False
    files: frozenset[str] = frozenset()  # of `path`: of TREE_FILES, those that say as well who may sign
    roots: frozenset[ObjectId] = frozenset()  # of `path`: commits that are trusted; there must be a way from each
    strict_expiry: bool = False  # keys have to be good now, also of what the catalogue lists
    attesters: frozenset[Fingerprint] | None = None  # whose sign-offs count; None: every key of the keyring
    also: Policy | None = None  # of a joined `path`: the `tag` or `every-commit` that holds beside it

    def to_line(self) -> str:
        """The line that `parse_policy` reads."""
        words = [encode_name(self.pattern), self.kind]
        if self.threshold:
            words.append(f"threshold={self.threshold}")
        if self.attesters is not None:
            words.append("attesters=" + ",".join(sorted(self.attesters)))
        if self.signers is not None:
            words.append("by=" + ",".join(sorted(self.signers)))
        words += [f"file={name}" for name in sorted(self.files)]
        words += [f"root={oid.hex()}" for oid in sorted(self.roots)]
        if self.non_fast_forward:
            words.append("non-fast-forward")
        if self.strict_expiry:
            words.append("strict-expiry")
        return " ".join(words)

    def matches(self, ref: bytes) -> bool:
        """Whether this line is about ``ref``."""
        return _compiled(self.pattern).match(ref) is not None

    def at(self, *, vouched_by_catalogue: bool) -> At:
        """When the keys of signatures have to be good: who holds an expired one could sign with a date of the past,
        so that counts only where a catalogue, whose signers' keys are good now, lists what was signed.
        """
        return "made" if vouched_by_catalogue and not self.strict_expiry else "now"

    @property
    def quorum(self) -> int:
        """How many attesters must have signed off.

        ``threshold=1`` alone asks for none, as it did before anybody's sign-offs were collected.
        """
        return 0 if self.threshold == 1 and self.attesters is None else self.threshold

    @property
    def asks_for_packs(self) -> bool:
        """Whether more is asked of a ref than the catalogue's word: what it names has to be here to be judged."""
        return self.kind not in ("catalogue", "local") or bool(self.quorum)

    def part(self, kind: PolicyKind) -> Policy | None:
        """What holds here of this kind: this policy, or the one beside it."""
        return next((policy for policy in (self, self.also) if policy is not None and policy.kind == kind), None)


@dataclass(frozen=True)
class Vouch:
    """Why an object was accepted: ``signed`` only if it carries a good signature itself, by ``signers``."""

    kind: VouchKind
    signers: tuple[Fingerprint, ...] = ()
    keyring: bytes = field(default=b"", compare=False)  # the digest of the one by which ``signed`` was found
    found: FoundSignature | None = field(default=None, compare=False)  # the signature of ``signed``

    def to_text(self) -> str:
        """As the index keeps it and the mount shows it: KIND, and after a colon each signer."""
        return ":".join([self.kind, *self.signers])


@lru_cache(maxsize=2048)  # more than a catalogue and a node have lines
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    # Atomic groups, else eight stars take time by the eighth power of the ref's length. Nothing is missed by them:
    # whatever stands between two ** is found at its first place, and what follows a star within it at the first, too,
    # as the later places are behind a / or leave the rest less room.
    *before, last = pattern.split(b"**")
    found = [rb"(?>" + rb".*?" * bool(at) + _between(part) + rb")" for at, part in enumerate(before)]
    *inner, end = last.split(b"*")
    tail = _between(b"*".join(inner)) + rb"[^/]*" if inner else b""
    found.append(rb".*" * bool(before) + tail + re.escape(end))
    return re.compile(b"".join(found) + rb"\Z", re.DOTALL)


def _between(part: bytes) -> bytes:
    first, *rest = [re.escape(literal) for literal in part.split(b"*")]
    return first + b"".join(rb"(?>[^/]*?" + literal + rb")" for literal in rest)


def parse_policy(line: str) -> Policy:
    """One policy line; raises `BadPolicy`, also for words it does not know, as they could be restrictions."""
    words = line.split(" ")
    if len(words) < 2 or not all(words):
        raise BadPolicy(line, f"it must be {_FORM}")
    try:
        pattern = decode_name(words[0])
    except BadRefName as error:
        raise BadPolicy(line, error.reason) from None
    if not pattern.startswith((b"refs/", b"**")) or pattern.count(b"*") > 8:
        raise BadPolicy(line, "the pattern must begin with refs/ or ** and may have 8 stars")
    kind = _KINDS.get(words[1])
    if kind is None:
        raise BadPolicy(line, f"the kind must be one of {', '.join(_KINDS)}")
    policy, seen = Policy(pattern, kind), set()
    for word in words[2:]:
        name, equals, value = word.partition("=")
        if name in seen:
            raise BadPolicy(line, f"{name} is given twice")
        seen.add(name)
        if name == "threshold" and re.fullmatch(r"[1-9][0-9]?", value) and int(value) <= THRESHOLD_MOST:
            policy = replace(policy, threshold=int(value))
        elif name == "attesters" and value:
            try:
                policy = replace(policy, attesters=frozenset(parse_fingerprint(text) for text in value.split(",")))
            except BadId as error:
                raise BadPolicy(line, str(error)) from None
        elif name == "by" and value:
            try:
                policy = replace(policy, signers=frozenset(parse_signer(text) for text in value.split(",")))
            except BadId as error:
                raise BadPolicy(line, str(error)) from None
        elif name == "non-fast-forward" and not equals:
            policy = replace(policy, non_fast_forward=True)
        elif name == "strict-expiry" and not equals:
            policy = replace(policy, strict_expiry=True)
        elif name in ("file", "root") and kind != "path":
            raise BadPolicy(line, f"{name}= is for the kind path only")
        elif name == "file":
            if value not in TREE_FILES:
                raise BadPolicy(line, f"file= must be one of {', '.join(TREE_FILES)}")
            policy = replace(policy, files=frozenset({value}))
        elif name == "root":
            try:
                policy = replace(policy, roots=frozenset({parse_object_id(value)}))
            except BadId as error:
                raise BadPolicy(line, str(error)) from None
        else:
            raise BadPolicy(line, f"unknown word {word[:60]!r}")
    if policy.attesters is None:
        return policy
    if len(policy.attesters) < policy.threshold:
        raise BadPolicy(line, f"{policy.threshold} sign-offs of {len(policy.attesters)} attesters")
    return replace(policy, threshold=policy.threshold or 1)


def named_subkeys(policies: Sequence[Policy], keyring: Keyring) -> list[tuple[str, Fingerprint, Fingerprint]]:
    """The lines that let a subkey sign or attest, the subkey, and the primary key that has to be named to match."""
    return [
        (policy.to_line(), fingerprint, primary)
        for policy in policies
        for fingerprint in sorted((policy.signers or frozenset()) | (policy.attesters or frozenset()))
        if (primary := keyring.primary_of(fingerprint)) is not None
    ]


def policy_for(ref: bytes, policies: Sequence[Policy]) -> Policy | None:
    """The first policy whose pattern matches ``ref``."""
    return next((policy for policy in policies if policy.matches(ref)), None)


def tighten(local: Policy, catalogue: Policy) -> Policy:
    """Both at once: the stricter of each demand, so that neither loosens the other."""
    attesters = _both(local.attesters, catalogue.attesters)
    path, other = (local, catalogue) if local.kind == "path" else (catalogue, local)
    threshold = max(local.threshold, catalogue.threshold)
    non_fast_forward = local.non_fast_forward and catalogue.non_fast_forward
    strict_expiry = local.strict_expiry or catalogue.strict_expiry
    if path.kind == "path" and other.kind in ("tag", "every-commit"):
        return replace(
            path, pattern=catalogue.pattern, threshold=threshold, attesters=attesters,
            non_fast_forward=non_fast_forward, strict_expiry=strict_expiry,
            also=replace(other, strict_expiry=strict_expiry),
        )  # fmt: skip
    stricter = max(local, catalogue, key=lambda policy: _STRICTNESS[policy.kind])
    return Policy(
        catalogue.pattern,
        stricter.kind,
        threshold,
        _both(local.signers, catalogue.signers),
        non_fast_forward,
        attesters=attesters,
        files=local.files | catalogue.files,
        roots=local.roots | catalogue.roots,
        strict_expiry=strict_expiry,
    )


def asks_as_much(policy: Policy, other: Policy) -> bool:
    """Whether ``policy`` demands no less than ``other``: then both at once are nothing but this one."""
    return tighten(other, policy) == policy


def _both(one: frozenset[Fingerprint] | None, other: frozenset[Fingerprint] | None) -> frozenset[Fingerprint] | None:
    """Who is in both lists, where None has everybody."""
    return other if one is None else one if other is None else one & other


def effective_policy(
    ref: bytes,
    local: Sequence[Policy],
    catalogue: Sequence[Policy] | None,
    *,
    has_keyring: bool,
) -> Policy:
    """What ``ref`` demands on this node.

    ``catalogue`` None means that there is none: then the local lines alone count, and without one the owner
    vouches (`local`), or, as soon as there is a keyring, every commit must be signed. With a catalogue the
    kind is `catalogue` where nothing stricter is said.
    """
    ours = policy_for(ref, local)
    if catalogue is None:
        return ours or Policy(b"**", "every-commit" if has_keyring else "local", non_fast_forward=not has_keyring)
    theirs = policy_for(ref, catalogue) or Policy(b"**", "catalogue")
    if theirs.kind == "local":  # a catalogue cannot say who owns this machine
        theirs = tighten(theirs, Policy(theirs.pattern, "catalogue", non_fast_forward=True))
    return theirs if ours is None else tighten(ours, theirs)


def judge_object(
    raw: bytes,
    kind: Literal["commit", "tag"],
    policy: Policy,
    keyring: Keyring | None,
    *,
    now_s: int,
    vouched_by_catalogue: bool = False,
    vouched_by_tag: bool = False,
    ref: bytes | None = None,
    found: FoundSignature | PolicyRefused | None = None,
) -> Vouch:
    """Why a commit or tag object may be accepted under ``policy``; raises `PolicyRefused`.

    ``vouched_by_catalogue``: an accepted catalogue lists it, or a descendant. ``vouched_by_tag``: an accepted signed
    tag reaches it. ``ref``: the ref that will hold this tag object, whose name must be the tag's own. ``found``: what
    `find_signature` has said of it a moment ago, with this keyring and policy.
    """
    if policy.kind == "local":
        return Vouch("local")
    if policy.kind == "catalogue":
        if vouched_by_catalogue:
            return Vouch("catalogue")
        raise PolicyRefused("no accepted catalogue vouches for it", "not-listed")
    if policy.kind == "tag" and kind == "commit":
        if vouched_by_tag:
            return Vouch("tag")
        if vouched_by_catalogue:  # its objects may come in; a ref moves to it only with its tag
            return Vouch("catalogue")
        raise PolicyRefused("neither a signed tag nor an accepted catalogue vouches for it", "not-listed")
    if keyring is None:
        raise PolicyRefused(
            f"{policy.kind} demands signatures, and no keyring is given (-o keyring=FILE)", "no-keyring"
        )
    if isinstance(found, PolicyRefused):
        raise PolicyRefused(found.reason, found.cause, found.subject)
    found = found or find_signature(raw, kind, keyring, policy.signers, now_s=now_s)
    signer = judge_signer(found, keyring, policy.at(vouched_by_catalogue=vouched_by_catalogue), now_s)
    if kind == "tag" and ref is not None:
        check_tag_name(raw, ref)
    return Vouch("signed", (signer,), keyring.digest, found)


def find_signature(
    raw: bytes, kind: Literal["commit", "tag"], keyring: Keyring, allowed: frozenset[Fingerprint] | None, *, now_s: int
) -> FoundSignature:
    """The signature that fits a commit or tag object; raises `PolicyRefused`. `judge_signer` says whether it counts."""
    try:
        signed = split_signed_object(raw)
    except BadSignedObject as error:
        raise PolicyRefused(error.reason) from None
    if signed.signature is None:
        raise PolicyRefused(f"the {kind} is not signed", "unsigned")
    if signed.kind != "openpgp":
        raise PolicyRefused(f"the {kind} has an {signed.kind} signature; only OpenPGP keys are trusted", "not-allowed")
    try:
        return find_detached(signed.payload, signed.signature, keyring, allowed, now_s=now_s)
    except BadSignature as error:
        raise PolicyRefused(error.reason, error.cause) from None


def judge_signer(found: FoundSignature, keyring: Keyring, at: At, now_s: int) -> Fingerprint:
    """Whose signature it is, if the key counts (see `Policy.at`); raises `PolicyRefused`."""
    try:
        return judge_found(found, keyring, at, now_s).primary
    except BadSignature as error:
        raise PolicyRefused(error.reason, error.cause) from None


def named_signing_key(raw: bytes) -> Fingerprint | None:
    """The primary key or subkey that an object's OpenPGP signature names alone; only of good ones is it worth asking.

    gpgv finds the key by this name, so of a good signature it is the key that made it.
    """
    try:
        signed = split_signed_object(raw)
        if signed.signature is None or signed.kind != "openpgp":
            return None
        packets = only_signatures(dearmor(signed.signature, SIGNATURE_BLOCK), 1, SIGNATURE_BYTES)
        issuer = only_issuer_of(packets[0])
    except (BadSignedObject, BadPackets):
        return None
    return None if issuer is None else Fingerprint(issuer)


def check_tag_name(raw: bytes, ref: bytes) -> None:
    """Raise `PolicyRefused` unless the tag object names itself as ``ref`` does: else an old tag serves as a new one."""
    try:
        name = tag_name(raw)
    except BadSignedObject as error:
        raise PolicyRefused(error.reason) from None
    if ref != _TAGS + name:
        raise PolicyRefused(f"the tag calls itself {encode_name(name)}, not {encode_name(ref)}", "tag-name")
