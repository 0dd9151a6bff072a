# SPDX-License-Identifier: GPL-3.0-or-later
"""Which signatures count: a table over time, revocations and what somebody forged, under both rules.

Each row says what comes out when the key had to be good as it signed ("made") and when it has to be good now ("now"):
"" for a signature that counts, else words of the reason. Beside it stand the tables of test_trust_spoilt (keys that
gpgv stumbles over), test_trust_subkeys (years of rotation), test_trust_verify (forms of signatures and documents),
test_trust_objects and test_trust_dated_objects (commits and tags).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from keys import DAY_S, NOW_S, gpg_time, now_s, packet
from owner import (
    BETWEEN,
    COMPROMISED,
    DATA,
    EARLY,
    EXPIRY,
    LATE,
    MADE,
    NO_REASON,
    RETIRED,
    REVOKED,
    SUPERSEDED,
    Owner,
    behind,
    changed,
    flood,
    revoked,
    ring_of,
    self_signatures,
    with_unhashed,
)

from gtfs.trust.packets import read_packets
from gtfs.trust.verify import At, BadSignature, verify_detached


class Row(NamedTuple):
    """A key as the ring has it, a signature, and what comes out of it; see the module's docstring."""

    made: str
    now: str
    ring: Callable[[Owner], bytes]
    signature: Callable[[Owner], bytes]
    data: bytes = DATA


def plain(owner: Owner) -> bytes:
    return owner.export("plain")


def by(name: str, time_s: int, part: int = 0, *options: str) -> Callable[[Owner], bytes]:
    return lambda owner: owner.sign_with(name, time_s, part, *options)


def short(name: str) -> Callable[[Owner], bytes]:
    return lambda owner: owner.short[name]


def by_reason(name: str, reason: int, **how: object) -> Callable[[Owner], bytes]:
    key = (lambda w: w.short[name]) if name == "expired" else plain
    return lambda owner: revoked(key(owner), owner.revocation(name, reason, **how))  # type: ignore[arg-type]


HAS_EXPIRED = "has expired"
TOO_LATE = "a newer keyring may know"
IS_REVOKED = "is revoked"
BAD = "does not fit"
WEAK = ("--allow-weak-digest-algos",)
ROWS = {
    # The key expires.
    "good": Row("", "", plain, by("plain", EARLY)),
    "good, made now": Row("", "", plain, by("plain", NOW_S)),
    "expired, signed in its time": Row("", HAS_EXPIRED, short("expired"), by("expired", EARLY)),
    "expired, a second before": Row("", HAS_EXPIRED, short("expired"), by("expired", EXPIRY - 1)),
    "expired, at that second": Row(TOO_LATE, HAS_EXPIRED, short("expired"), by("expired", EXPIRY)),
    "expired, signed later": Row(TOO_LATE, HAS_EXPIRED, short("expired"), by("expired", LATE)),
    "expired, signed now": Row(TOO_LATE, HAS_EXPIRED, short("expired"), by("expired", NOW_S)),
    "extended, signed in its first time": Row("", "", lambda w: w.long["expired"], by("expired", EARLY)),
    "extended, signed later": Row("", "", lambda w: w.long["expired"], by("expired", LATE)),
    "extended in one of two copies": Row("", "", lambda w: w.short["expired"] + w.long["expired"], by("expired", LATE)),
    "subkey expired, signed in its time": Row("", HAS_EXPIRED, short("signer"), by("signer", EARLY, 1)),
    "subkey expired, signed later": Row(TOO_LATE, HAS_EXPIRED, short("signer"), by("signer", LATE, 1)),
    "good subkey beside the expired one": Row("", "", short("signer"), by("signer", LATE, 2)),
    "subkey extended": Row("", "", lambda w: w.long["signer"], by("signer", LATE, 1)),
    "primary key expired, a subkey signed in its time": Row("", HAS_EXPIRED, short("mother"), by("mother", EARLY, 1)),
    "primary key expired, a subkey signed later": Row(TOO_LATE, HAS_EXPIRED, short("mother"), by("mother", LATE, 1)),
    "primary key extended": Row("", "", lambda w: w.long["mother"], by("mother", LATE, 1)),
    "expired, and other data": Row(BAD, BAD, short("expired"), by("expired", EARLY), b"others\n"),
    "before there was the key": Row(
        "cannot be checked", "cannot be checked", plain, by("plain", MADE - DAY_S, 0, "--ignore-time-conflict")
    ),
    # The key is revoked.
    **{
        f"{word}, signed {when}": Row(
            "" if mild and time_s == EARLY else IS_REVOKED, IS_REVOKED, by_reason("plain", reason), by("plain", time_s)
        )
        for word, reason, mild in (
            ("superseded", SUPERSEDED, True), ("retired", RETIRED, True), ("compromised", COMPROMISED, False),
            ("revoked without a reason", NO_REASON, False),
        )
        for when, time_s in (("before", EARLY), ("after", LATE))
    },
    "superseded, a second before": Row("", IS_REVOKED, by_reason("plain", SUPERSEDED), by("plain", REVOKED - 1)),
    "superseded, at that second": Row(IS_REVOKED, IS_REVOKED, by_reason("plain", SUPERSEDED), by("plain", REVOKED)),
    **{
        f"expired and {word}": Row(made, HAS_EXPIRED, by_reason("expired", reason), by("expired", EARLY))
        for word, reason, made in (
            ("superseded later", SUPERSEDED, ""), ("retired later", RETIRED, ""),
            ("compromised, which gpgv does not say", COMPROMISED, IS_REVOKED),
            ("revoked without a reason, which gpgv does not say", NO_REASON, IS_REVOKED),
        )
    },
    "expired and superseded before the signature": Row(
        IS_REVOKED, HAS_EXPIRED, by_reason("expired", SUPERSEDED, time_s=EARLY - DAY_S), by("expired", EARLY)
    ),
    "expired and superseded, signed between": Row(
        TOO_LATE, HAS_EXPIRED, by_reason("expired", SUPERSEDED), by("expired", BETWEEN)
    ),
    **{
        f"subkey {word}, signed {when}": Row(
            "" if mild and time_s == EARLY else IS_REVOKED, IS_REVOKED,
            lambda w, reason=reason: w.with_revoked_subkey(w.short["signer"], "signer", 2, reason),
            by("signer", time_s, 2),
        )
        for word, reason, mild in (("superseded", SUPERSEDED, True), ("compromised", COMPROMISED, False))
        for when, time_s in (("before", EARLY), ("after", LATE))
    },
    "another subkey is compromised": Row(
        "", "", lambda w: w.with_revoked_subkey(w.short["signer"], "signer", 1, COMPROMISED), by("signer", EARLY, 2)
    ),
    "an expired subkey is compromised, which gpgv does not say": Row(
        IS_REVOKED, HAS_EXPIRED,
        lambda w: w.with_revoked_subkey(w.short["signer"], "signer", 1, COMPROMISED), by("signer", EARLY, 1),
    ),
    "a subkey of a compromised key": Row(
        IS_REVOKED, IS_REVOKED,
        lambda w: revoked(w.long["signer"], w.revocation("signer", COMPROMISED)), by("signer", EARLY, 2),
    ),
    "a subkey of a superseded key": Row(
        "", IS_REVOKED, lambda w: revoked(w.long["signer"], w.revocation("signer", SUPERSEDED)), by("signer", EARLY, 2)
    ),
    "superseded, then compromised": Row(
        IS_REVOKED, IS_REVOKED,
        lambda w: revoked(plain(w), w.revocation("plain", SUPERSEDED), w.revocation("plain", COMPROMISED, LATE)),
        by("plain", EARLY),
    ),
    "superseded twice, signed between": Row(
        IS_REVOKED, IS_REVOKED,
        lambda w: revoked(plain(w), w.revocation("plain", SUPERSEDED, LATE + 9), w.revocation("plain", RETIRED)),
        by("plain", LATE),
    ),
    "superseded twice, signed before": Row(
        "", IS_REVOKED,
        lambda w: revoked(plain(w), w.revocation("plain", SUPERSEDED, LATE + 9), w.revocation("plain", RETIRED)),
        by("plain", EARLY),
    ),
    "compromised, signed with SHA-1, which gpgv does not see": Row(
        IS_REVOKED, IS_REVOKED, by_reason("plain", COMPROMISED, digest="SHA1"), by("plain", EARLY)
    ),
    "superseded, signed with SHA-1": Row(
        "", IS_REVOKED, by_reason("plain", SUPERSEDED, digest="SHA1"), by("plain", EARLY)
    ),
    "the revocation stands at the wrong place": Row(
        IS_REVOKED, IS_REVOKED, lambda w: behind(plain(w), w.revocation("plain", COMPROMISED)), by("plain", EARLY)
    ),
    "revoked in one of two copies": Row(
        IS_REVOKED, IS_REVOKED,
        lambda w: plain(w) + revoked(plain(w), w.revocation("plain", NO_REASON)), by("plain", EARLY),
    ),
    # Somebody forged packets.
    "another key's revocation": Row(
        "", "", lambda w: revoked(plain(w), w.revocation("other", COMPROMISED)), by("plain", EARLY)
    ),
    "another key's revocation of an expired key": Row(
        "", HAS_EXPIRED,
        lambda w: revoked(w.short["expired"], w.revocation("other", COMPROMISED)), by("expired", EARLY),
    ),
    "a revocation that does not fit": Row(
        "", "", lambda w: revoked(plain(w), changed(w.revocation("plain", COMPROMISED), -1)), by("plain", EARLY)
    ),
    "a revocation that does not fit, of an expired key": Row(
        "", HAS_EXPIRED,
        lambda w: revoked(w.short["expired"], changed(w.revocation("expired", NO_REASON), -1)), by("expired", EARLY),
    ),
    "a revocation that does not fit beside one that does": Row(
        IS_REVOKED, IS_REVOKED,
        lambda w: revoked(
            plain(w), changed(w.revocation("plain", COMPROMISED), -1), w.revocation("plain", COMPROMISED)
        ),
        by("plain", EARLY),
    ),
    "an earlier revocation that does not fit beside a later one": Row(
        "", IS_REVOKED,
        lambda w: revoked(
            plain(w), changed(w.revocation("plain", SUPERSEDED, MADE + DAY_S), -1), w.revocation("plain", SUPERSEDED)
        ),
        by("plain", EARLY),
    ),
    "a reason that only the unhashed part gives": Row(
        IS_REVOKED, IS_REVOKED,
        lambda w: revoked(plain(w), with_unhashed(w.revocation("plain", NO_REASON), b"\x02\x1d\x01")),
        by("plain", EARLY),
    ),
    "a flood of revocations that do not fit": Row(
        "", "",
        lambda w: revoked(plain(w), *flood(w.revocation("plain", SUPERSEDED))), by("plain", EARLY),
    ),
    "one that fits in the flood": Row(
        "", IS_REVOKED,
        lambda w: revoked(plain(w), *flood(w.revocation("plain", RETIRED)), w.revocation("plain", SUPERSEDED)),
        by("plain", EARLY),
    ),
    "a compromise in the flood": Row(
        IS_REVOKED, IS_REVOKED,
        lambda w: revoked(plain(w), *flood(w.revocation("plain", RETIRED)), w.revocation("plain", COMPROMISED)),
        by("plain", EARLY),
    ),
    "a revocation that is no packet of ours": Row(
        "", "", lambda w: revoked(plain(w), packet("signature", b"\x04\x20\x16\x08\0\0\0\0\0\0")), by("plain", EARLY)
    ),
    "a revocation by whom nobody named": Row(
        "", "",
        lambda w: revoked(plain(w), w.revocation("stranger", COMPROMISED)) + w.export("stranger"), by("plain", EARLY),
    ),
    "an extension that does not fit": Row(
        TOO_LATE, HAS_EXPIRED,
        lambda w: behind(w.short["expired"], changed(self_signatures(w.long["expired"])[-1], -1)), by("expired", LATE),
    ),
    "another key's self-signature": Row(
        TOO_LATE, HAS_EXPIRED,
        lambda w: behind(w.short["expired"], self_signatures(plain(w))[0]), by("expired", LATE),
    ),
    "an expiry that does not fit": Row(
        "", "",
        lambda w: behind(w.long["expired"], changed(self_signatures(w.short["expired"])[0], -1)), by("expired", LATE),
    ),
    "an extension that is in the ring of somebody else's key": Row(
        TOO_LATE, HAS_EXPIRED,
        lambda w: w.short["expired"] + behind(plain(w), self_signatures(w.long["expired"])[-1]), by("expired", LATE),
    ),
    # The signature is odd.
    "from the future": Row("in the future", "in the future", plain, by("plain", NOW_S + 3 * DAY_S)),
    "the signature has expired": Row(
        "signature has expired", "signature has expired", plain, by("plain", EARLY, 0, "--default-sig-expire", "1d")
    ),
    "the signature and the key have expired": Row(
        "signature has expired", "signature has expired",
        short("expired"), by("expired", EARLY, 0, "--default-sig-expire", "1d"),
    ),
    "a signature with an end that is not yet": Row(
        "", "", plain, by("plain", NOW_S - DAY_S, 0, "--default-sig-expire", "1y")
    ),
    **{
        f"a digest of {digest}": Row(
            "weak digest", "weak digest", plain, by("plain", EARLY, 0, "--digest-algo", digest, *WEAK)
        )
        for digest in ("SHA1", "RIPEMD160", "MD5", "SHA224")
    },
    **{
        f"a digest of {digest}": Row("", "", plain, by("plain", EARLY, 0, "--digest-algo", digest))
        for digest in ("SHA384", "SHA512")
    },
    "by an expired key with SHA-1": Row(
        "weak digest", "weak digest", short("expired"), by("expired", EARLY, 0, "--digest-algo", "SHA1", *WEAK)
    ),
    "two in one": Row(
        "more than one", "more than one", plain, lambda w: w.sign(DATA, "plain", "other", time_s=EARLY)
    ),
    "text behind it": Row("after the end", "after the end", plain, lambda w: w.sign(DATA, "plain") + b"more\n"),
    "of class 01": Row("class 01", "class 01", plain, by("plain", EARLY, 0, "--textmode")),
    "clear-signed": Row("armor|begin", "armor|begin", plain, lambda w: w.clearsign(DATA, "plain")),
    "by a key that is not there": Row("not in the keyring", "not in the keyring", plain, by("other", EARLY)),
    "other data": Row(BAD, BAD, plain, by("plain", EARLY), b"others\n"),
    "empty data": Row(BAD, BAD, plain, by("plain", EARLY), b""),
    "a key of SHA-1 self-signatures": Row("SHA-1", "SHA-1", lambda w: w.export("weak"), by("weak", EARLY)),
    "status lines in the name of an expired key": Row(
        TOO_LATE, HAS_EXPIRED, short("injected"), by("injected", LATE)
    ),
    "status lines in a notation": Row(
        TOO_LATE, HAS_EXPIRED, short("expired"),
        by("expired", LATE, 0, "--sig-notation", "a@example.org=x%0A[GNUPG:] GOODSIG 0 x%0A[GNUPG:] VALIDSIG"),
    ),
    "status lines in a policy URL": Row(
        "", HAS_EXPIRED, short("expired"),
        by("expired", EARLY, 0, "--sig-policy-url", "http://example.org/%0A[GNUPG:]%20REVKEYSIG"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def owner() -> Iterator[Owner]:
    made = Owner(Path(tempfile.mkdtemp(prefix="gtfs-cases-", dir="/tmp")))
    yield made
    made.close()


@pytest.mark.warns
@pytest.mark.parametrize("case", ROWS)
def test_a_signature_counts_or_does_not_under_either_rule(owner: Owner, tmp_path: Path, case: str) -> None:
    row = ROWS[case]
    ring, signature = ring_of(owner, row.ring(owner), tmp_path), row.signature(owner)
    rules: list[tuple[At, str]] = [("made", row.made), ("now", row.now)]
    for at, reason in rules:
        if not reason:
            found = verify_detached(row.data, signature, ring, None, now_s=now_s(), at=at)
            assert found.primary in ring.primaries
        else:
            with pytest.raises(BadSignature, match=reason):
                verify_detached(row.data, signature, ring, None, now_s=now_s(), at=at)


def test_there_are_enough_cases() -> None:
    assert len(ROWS) >= 80


def test_a_late_signature_names_the_key_and_both_days(owner: Owner, tmp_path: Path) -> None:
    ring = ring_of(owner, owner.short["signer"], tmp_path)
    with pytest.raises(BadSignature) as caught:
        verify_detached(DATA, owner.sign_with("signer", LATE, 1), ring, None, now_s=now_s(), at="made")
    expected = "the key {} expired on {}, the signature was made on {}: a newer keyring may know that it was extended"
    days = [gpg_time(time_s)[:8] for time_s in (EXPIRY, LATE)]
    assert caught.value.reason == expected.format(owner["signer"], *(f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in days))


def test_a_revoker_that_the_ring_lacks_makes_a_key_useless(owner: Owner, tmp_path: Path) -> None:
    """Whoever is named may revoke; that he did not cannot be told without his key."""
    made = "%no-protection\nKey-Type: eddsa\nKey-Curve: ed25519\nKey-Usage: sign\nName-Real: ward\nExpire-Date: 0\n"
    made += f"Revoker: 22:{owner['other']}\n%commit\n"
    before = owner._primaries()
    owner.gpg("--faked-system-time", gpg_time(MADE), "--gen-key", data=made.encode())
    (owner.fingerprints["ward"],) = owner._primaries() - before
    signature, key = owner.sign_with("ward", EARLY), owner.export("ward")
    forged = revoked(key, owner.revocation("other", SUPERSEDED))
    assert verify_detached(DATA, signature, ring_of(owner, key, tmp_path), None, now_s=now_s(), at="made")
    both = revoked(key, owner.revocation("other", SUPERSEDED), owner.revocation("ward", SUPERSEDED))
    for unclear in (forged, both):
        with pytest.raises(BadSignature, match=f"the keyring lacks {owner['other']}"):
            verify_detached(DATA, signature, ring_of(owner, unclear, tmp_path), None, now_s=now_s(), at="made")
    whole = ring_of(owner, forged + owner.export("other"), tmp_path)
    assert verify_detached(DATA, signature, whole, None, now_s=now_s(), at="made").primary == owner["ward"]


def test_one_key_of_a_ring_of_40_mb_is_found(owner: Owner, tmp_path: Path) -> None:
    body = next(p.body for p in read_packets(plain(owner)))
    name = packet("user id", b"u" * 2000)
    strangers = (packet("key", body[:-4] + n.to_bytes(4, "big")) + name * 1 for n in range(20_000))
    ring = ring_of(owner, b"".join(strangers) + plain(owner), tmp_path)
    assert ring.path.stat().st_size > 40_000_000
    found = verify_detached(DATA, owner.sign_with("plain", EARLY), ring, None, now_s=now_s(), at="made")
    assert found.primary == owner["plain"]
