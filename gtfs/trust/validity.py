# SPDX-License-Identifier: GPL-3.0-or-later
"""When a key was good: whether a signature that fits its data counts (design.md §10).

gpgv says of a key only what it is now, EXPKEYSIG hides a revocation, and a revocation signed with SHA-1 it does not see
at all. So the dates come from gpg's list of the key alone, which verifies what the key says of itself, and each
revocation is shown to gpg without the others. Nothing is believed that a packet only claims. Any thread.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Final, Literal, NamedTuple

from gtfs.ids import Fingerprint
from gtfs.trust.child import NO_HOME, ChildKilled, ChildNotStarted, ChildTimedOut, ChildTooLoud, InMemory, run_child
from gtfs.trust.gnupghome import search_path
from gtfs.trust.gpgv import (
    EXPIRED,
    EXPIRED_SIGNATURE,
    FUTURE_S,
    REVOKED,
    WEAK,
    BadSignature,
    FoundSignature,
    GpgvFailed,
    MadeInFuture,
    Signature,
)
from gtfs.trust.packets import BadPackets, Packet, claim_of, key_id, revocation_of
from gtfs.trust.publickey import PublicKey
from gtfs.trust.reason import Cause

At = Literal["made", "now"]
"""When the key has to be good: as the signature was made, if something fresh vouches for it today, or now."""

TIMEOUT_S: Final = 300  # child.CPU_S ends it before
LIST_BYTES: Final = 8 << 20  # a key of a thousand user ids of 2 KiB, escaped

_ENVIRONMENT: Final = {"PATH": search_path(), "LC_ALL": "C"}
# RFC 4880 §5.2.3.23: superseded, retired. Only then was the key its owner's until the revocation.
_HARMLESS_REASONS: Final = {1: "superseded", 3: "retired"}
_OTHER_REASONS: Final = {0: "without a reason", 2: "as compromised", None: "without a reason"}


_STANDING: Final[dict[str, tuple[str, Cause]]] = {"expired": (EXPIRED, "expired"), "revoked": (REVOKED, "revoked")}


class Validity(NamedTuple):
    """When a part of a key, and the primary key with it, are good; Unix seconds."""

    begins_s: int
    expires_s: int | None
    revoked_s: int | None = None  # signatures made from then on do not count; 0: none ever did
    why: str = ""  # it is revoked


class _Listed(NamedTuple):
    """A part of a key in gpg's list."""

    validity: str  # doc/DETAILS of GnuPG, field 2
    created_s: int
    expires_s: int | None
    revokers: frozenset[str]  # whom the owner lets revoke the key


def judge(found: FoundSignature, key: PublicKey, validity: Validity | None, at: At, now_s: int) -> Signature:
    """The signature, if its key counts; raises `BadSignature`. ``validity`` may be None if `needs_validity` says no."""
    if found.made_s > now_s + FUTURE_S:
        raise MadeInFuture("the signature was made in the future")
    if found.expires_s is not None and found.expires_s <= now_s:
        raise BadSignature(EXPIRED_SIGNATURE)
    if at == "now" and found.standing in ("expired", "revoked"):
        raise BadSignature(*_STANDING[found.standing])
    if validity is not None:
        _judge_times(found, key, validity, at, now_s)
    return Signature(found.primary, found.made_s)


def needs_validity(found: FoundSignature, key: PublicKey) -> bool:
    """Whether gpgv's word is not all there is to know: good now, and nobody says that the key is revoked."""
    return found.standing != "good" or bool(key.revocations(found.part))


def _judge_times(found: FoundSignature, key: PublicKey, validity: Validity, at: At, now_s: int) -> None:
    if found.standing == "expired" and not (validity.expires_s and validity.expires_s <= now_s + FUTURE_S):
        raise BadSignature("gpgv says that the key has expired, gpg that it has not")
    if found.standing == "revoked" and validity.revoked_s is None:
        raise BadSignature("gpgv says that the key is revoked, gpg that it is not")
    if found.made_s < validity.begins_s:
        raise BadSignature(f"the signature was made on {_day(found.made_s)}, before the key {key.fingerprint} was")
    when_s = found.made_s if at == "made" else max(now_s, found.made_s)
    if validity.revoked_s is not None and validity.revoked_s <= when_s:
        subkey = "" if found.part == found.primary else f" a subkey of {found.primary},"
        raise BadSignature(f"{REVOKED}: {found.part},{subkey} is revoked {validity.why}", "revoked")
    if validity.expires_s is None or when_s < validity.expires_s:
        return
    if at == "now":
        raise BadSignature(EXPIRED, "expired")
    raise BadSignature(
        f"the key {key.fingerprint} expired on {_day(validity.expires_s)}, the signature was made on "
        f"{_day(found.made_s)}: a newer keyring may know that it was extended",
        "made-after-expiry",
    )


def _day(time_s: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time_s))


def ask_validity(key: PublicKey, part: Fingerprint, revokers: bytes) -> Validity:
    """What gpg finds of this part of ``key``; ``revokers`` are the keys that may revoke it, as packets.

    Raises `BadSignature` for a key that gpg cannot use, `GpgvFailed`.
    """
    found = _list(key, part, revokers, ())
    listed = [found[f] for f in (key.fingerprint, part)]
    expiries = [each.expires_s for each in listed if each.expires_s is not None]
    if any(each.validity == "i" for each in listed):
        raise BadSignature(f"the key {key.fingerprint} cannot be used: gpg calls it invalid")
    begins_s, expires_s = max(each.created_s for each in listed), min(expiries, default=None)
    revoked_s, why = _ask_revoked(key, part, revokers)
    for packet in key.revocations(part):
        absent = _claims_by(packet, found[key.fingerprint].revokers - found.keys())
        if absent is not None:
            revoked_s, why = 0, f"by {absent}, whom its owner lets revoke it; the keyring lacks {absent} to check that"
    return Validity(begins_s, expires_s, revoked_s, why)


def _claims_by(packet: Packet, revokers: Collection[str]) -> str | None:
    """Which of these a revocation claims to be by."""
    try:
        issuer = claim_of(packet).issuer
    except BadPackets:
        return None
    return next((f for f in revokers if issuer in (f, key_id(f))), None)


def _ask_revoked(key: PublicKey, part: Fingerprint, revokers: bytes) -> tuple[int | None, str]:
    """From when on it is revoked, and why; forged revocations count for nothing."""

    def is_genuine(some: Sequence[Packet]) -> bool:
        """Whether one of them is."""
        return bool(some) and _list(key, part, revokers, some)[part].validity == "r"

    claims = {packet.raw: revocation_of(packet) for packet in key.revocations(part)}
    mild: list[Packet] = []
    hard: list[Packet] = []
    for packet in key.revocations(part):
        claim = claims[packet.raw]
        is_mild = claim.made_s is not None and claim.code in _HARMLESS_REASONS
        (mild if is_mild else hard).append(packet)
    if is_genuine(hard):
        reasons = {claims[packet.raw].code for packet in hard}
        words = {_OTHER_REASONS.get(reason, "for a reason of its own") for reason in reasons}
        return 0, f"{' or '.join(sorted(words))}, so that nothing it signed counts"
    if not is_genuine(mild):
        return None, ""
    # The earliest genuine one ends the shortest run of them, by time, in which there is one.
    mild.sort(key=lambda packet: claims[packet.raw].made_s or 0)
    low, high = 1, len(mild)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_genuine(mild[:middle]) else (middle + 1, high)
    first = claims[mild[low - 1].raw]
    made_s = first.made_s or 0
    return made_s, f"as {_HARMLESS_REASONS.get(first.code or 0, '')} on {_day(made_s)}"


def _list(
    key: PublicKey, part: Fingerprint, revokers: bytes, revocations: Sequence[Packet]
) -> dict[Fingerprint, _Listed]:
    """What gpg lists of the key and this part; raises `BadSignature` unless both are there, `GpgvFailed`.

    A revocation counts whatever digest it was signed with: gpgv forgets one of SHA-1, and the key comes to life again.
    """
    weak = ["--allow-weak-digest-algos"] if revocations else [w for name in WEAK for w in ("--weak-digest", name)]
    command: list[str | InMemory] = [
        "gpg", "--homedir", NO_HOME, "--batch", "--no-tty", "--no-options", "--no-default-keyring",
        "--keyring", InMemory(key.with_only(part, revocations) + revokers, "gnupg-ring:"), "--no-sig-cache",
        "--no-auto-check-trustdb", "--trust-model", "always", *weak, "--with-colons", "--list-keys",
    ]  # fmt: skip
    try:
        code, said = run_child(command, b"", environment=_ENVIRONMENT, timeout_s=TIMEOUT_S, most_bytes=LIST_BYTES)
    except ChildTimedOut:
        raise BadSignature(f"gpg needed more than {TIMEOUT_S} s for the key {key.fingerprint}") from None
    except ChildTooLoud:
        raise BadSignature(f"gpg said too much about the key {key.fingerprint}") from None
    except ChildKilled as error:
        raise GpgvFailed(str(error)) from error
    except ChildNotStarted as error:
        raise GpgvFailed(f"{error}; install the package gnupg") from error
    found = _read_list(said)
    if code != 0 or not {key.fingerprint, part} <= found.keys():
        raise BadSignature(f"the key {key.fingerprint} cannot be used: gpg does not list it")
    return found


def _read_list(said: bytes) -> dict[Fingerprint, _Listed]:
    """The parts of all keys in gpg's list, by fingerprint; raises `BadSignature` for a form that is not known."""
    found: dict[Fingerprint, _Listed] = {}
    part: list[str] = []
    revokers: list[str] = []
    for line in said.decode("ascii", "replace").split("\n"):
        fields = line.split(":")
        if fields[0] in ("pub", "sub"):
            part, revokers = fields, []
        elif fields[0] == "rvk":
            revokers.append("".join(fields[9:10]))
        elif fields[0] == "fpr":
            if len(part) < 7 or len(fields) < 10 or fields[9] in found:
                raise BadSignature("gpg's list of the key has an unknown form")
            found[Fingerprint(fields[9])] = _listed(part, revokers)
            part = []
    return found


def _listed(fields: Sequence[str], revokers: Sequence[str]) -> _Listed:
    validity, created, expires = fields[1], fields[5], fields[6]
    if not created.isdigit() or not (expires.isdigit() or not expires):
        raise BadSignature("gpg's list of the key has an unknown form")
    return _Listed(validity, int(created), int(expires) if expires else None, frozenset(revokers))
