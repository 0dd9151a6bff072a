# SPDX-License-Identifier: GPL-3.0-or-later
"""One signature packet, one run of gpgv, one judgement of everything that gpgv said (design.md §10).

gpgv exits 0 for signatures by expired and by revoked keys, so its exit code is only one of the conditions, and
whatever it says beyond the few expected status words refuses. What it says of the key is its standing at the time of
the run, and no more: `gtfs.trust.validity` judges that. May be called from any thread; it waits for the child.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from gtfs.errors import Blame, GtfsError
from gtfs.ids import Fingerprint
from gtfs.trust.child import (
    NO_HOME,
    STATUS_FD,
    ChildKilled,
    ChildNotStarted,
    ChildTimedOut,
    ChildTooLoud,
    InMemory,
    run_child,
)
from gtfs.trust.gnupghome import search_path
from gtfs.trust.packets import STRONG_DIGESTS, key_id
from gtfs.trust.reason import Cause

FUTURE_S: Final = 300  # design.md §5: clocks may differ by this much
WEAK: Final = ("SHA1", "RIPEMD160")  # beside MD5, which gpgv calls weak itself
TIMEOUT_S: Final = 300  # child.CPU_S ends it before, so that a loaded machine judges as an idle one does
STATUS_BYTES: Final = 256 << 10  # notations of a 16 KiB signature, escaped, stay far below

_ENVIRONMENT: Final = {"PATH": search_path(), "LC_ALL": "C"}
# KEYEXPIRED is said of every expired signing part of the key, and of a good one beside it; of the part that signed, or
# of its primary key, EXPKEYSIG says it in the place of GOODSIG.
_HARMLESS: Final = frozenset({"KEY_CONSIDERED", "SIG_ID", "POLICY_URL", "KEYEXPIRED"})
NOT_IN_RING: Final = "the key that signed is not in the keyring"
EXPIRED: Final = "the key that signed has expired"
REVOKED: Final = "the key that signed is revoked"
EXPIRED_SIGNATURE: Final = "the signature has expired"
_ONCE: Final = ("NEWSIG", "VALIDSIG")

Standing = Literal["good", "expired", "revoked", "recorded"]

# What gpgv calls a signature that fits the data, by how the key stands while it runs.
_FITS: Final[dict[str, Standing]] = {"GOODSIG": "good", "EXPKEYSIG": "expired", "REVKEYSIG": "revoked"}
_REASONS: Final = {
    "BADSIG": "the signature does not fit the data",
    "ERRSIG": "the signature cannot be checked",
    "NO_PUBKEY": NOT_IN_RING,
    "EXPSIG": EXPIRED_SIGNATURE,
}


class BadSignature(GtfsError):
    """A signature that does not count; ``reason`` says why in a few words."""

    fault = Blame.TRUST

    cause: Cause = "not-good"

    def __init__(self, reason: str, cause: Cause | None = None, *, is_key_useless: bool = False) -> None:
        super().__init__(f"signature refused: {reason}")
        self.reason = reason
        self.cause = cause or self.cause
        self.is_key_useless = is_key_useless  # gpgv found the key that signed, or should have, and cannot use it


class UnknownKey(BadSignature):
    """A signature by a key that the keyring does not have."""

    cause = "unknown-key"


class MadeInFuture(BadSignature):
    """A signature whose time has not come."""

    cause = "clock"


class GpgvFailed(GtfsError):
    """gpgv could not be run, so nothing can be said about a signature."""

    fault = Blame.SYSTEM


class FoundSignature(NamedTuple):
    """A signature that fits its data: by which key, by which part of it, and when (Unix seconds).

    It does not count yet: whether the key was good then, or is now, is `gtfs.trust.validity`'s to judge.
    """

    primary: Fingerprint
    part: Fingerprint  # the primary key itself, or a subkey of it
    made_s: int
    expires_s: int | None = None  # of the signature, not of the key
    standing: Standing = "recorded"  # what gpgv said of the key while it ran; "recorded" if it ran another time


@dataclass(frozen=True)
class Signature:
    """A signature that counts: by the primary key of this fingerprint, made at this time (Unix seconds)."""

    primary: Fingerprint
    made_s: int


def check(
    packet: bytes,
    data: bytes,
    keys: bytes,
    allowed: Collection[Fingerprint],
    *,
    now_s: int,
    sig_class: str,
) -> FoundSignature:
    """The signature in ``packet`` (one binary packet) over ``data``; raises `BadSignature` or `GpgvFailed`.

    ``keys`` are the public keys that gpgv may look at, as packets; ``allowed`` are whole primary fingerprints;
    ``sig_class`` is "00" (data) or "01" (text). The key may be expired or revoked: the caller judges that.
    """
    code, status = _run(packet, data, keys)
    return _judge(code, status, allowed, now_s, sig_class)


def _run(packet: bytes, data: bytes, keys: bytes) -> tuple[int, bytes]:
    """gpgv's exit code and status output."""
    # Named by its kind: a colon anywhere in the path would make gpgv look for one.
    command: list[str | InMemory] = ["gpgv", "--homedir", NO_HOME, "--keyring", InMemory(keys, "gnupg-ring:")]
    command += ["--status-fd", STATUS_FD, *(word for weak in WEAK for word in ("--weak-digest", weak))]
    command += ["--", InMemory(packet), "-"]
    try:
        return run_child(command, data, environment=_ENVIRONMENT, timeout_s=TIMEOUT_S, most_bytes=STATUS_BYTES)
    except ChildTimedOut:
        raise BadSignature(f"gpgv needed more than {TIMEOUT_S} s") from None
    except ChildTooLoud:
        raise BadSignature("gpgv said too much about the signature") from None
    except ChildKilled as error:
        raise GpgvFailed(str(error)) from error
    except ChildNotStarted as error:
        raise GpgvFailed(f"{error}; install the package gpgv") from error


def _judge(code: int, status: bytes, allowed: Collection[Fingerprint], now_s: int, sig_class: str) -> FoundSignature:
    """All conditions of design.md §10 on one run; raises `BadSignature` with the first that does not hold."""
    seen: dict[str, list[bytes]] = {}
    for line in status.split(b"\n")[:-1]:
        prefix, _, rest = line.partition(b" ")
        word = rest.partition(b" ")[0].decode("ascii", "replace")
        if prefix != b"[GNUPG:]":
            raise BadSignature("gpgv's status output is garbled")
        seen.setdefault(word, []).append(line)
    is_key_useless = bool(seen.keys() & {"NO_PUBKEY", "ERRSIG"})
    for word, reason in _REASONS.items():  # the telling ones first, whatever else was said
        if word in seen and word != "ERRSIG":
            kind = UnknownKey if word == "NO_PUBKEY" else BadSignature
            raise kind(reason, is_key_useless=is_key_useless)
    fits = [word for word in _FITS if word in seen]
    for word in seen:
        if word not in (*_ONCE, *fits) and word not in _HARMLESS and not word.startswith("NOTATION_"):
            raise BadSignature(_REASONS.get(word, f"gpgv reports {word}"), is_key_useless=is_key_useless)
    if code != 0 or not status.endswith(b"\n"):
        raise BadSignature(f"gpgv ended with code {code}")
    if len(fits) > 1:
        raise BadSignature(f"gpgv reports both {' and '.join(fits)}")
    for word in (*_ONCE, *(fits or ["GOODSIG"])):
        if len(seen.get(word, ())) != 1:
            raise BadSignature(f"gpgv reports {word} {len(seen.get(word, ()))} times instead of once")
    fields = seen["VALIDSIG"][0].decode("ascii", "replace").split(" ")[2:]
    if len(fields) != 10:
        raise BadSignature("gpgv's VALIDSIG line has an unknown form")
    if key_id(fields[0]) != seen[fits[0]][0].decode("ascii", "replace").split(" ")[2]:
        raise BadSignature("gpgv calls good what another key signed")
    made, expires, digest, found_class, primary = fields[2], fields[3], fields[7], fields[8], fields[9]
    if not (digest.isdigit() and int(digest) in STRONG_DIGESTS):
        raise BadSignature("the signature uses a weak digest", "weak-digest")
    if found_class != sig_class:
        raise BadSignature(f"the signature is of class {found_class}, not {sig_class}")
    if not (made.isdigit() and expires.isdigit()):
        raise BadSignature("gpgv gives the time in an unknown form")
    if int(made) > now_s + FUTURE_S:
        raise MadeInFuture("the signature was made in the future")
    if int(expires) and int(expires) <= now_s:
        raise BadSignature(EXPIRED_SIGNATURE)
    if primary not in allowed:
        raise BadSignature(f"{primary} may not sign this", "not-allowed")
    standing = _FITS[fits[0]]
    return FoundSignature(Fingerprint(primary), Fingerprint(fields[0]), int(made), int(expires) or None, standing)
