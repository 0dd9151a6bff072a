# SPDX-License-Identifier: GPL-3.0-or-later
"""What gpg says of public keys: whose they are, until when they count, whether they can sign. Any thread.

gpg looks at what the owner signed of each key; a user id that he did not sign is not told. Signatures on what is
followed are judged by gpgv and never by this: it is for people, who want to know what will happen soon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gtfs.ids import Fingerprint
from gtfs.trust.publicgpg import ask_gpg, keys_as_packets
from gtfs.trust.publickey import PublicKey

SOON_DAYS: Final = 60
_DAY_S: Final = 86400
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")
_NO_GOOD: Final = frozenset({"i", "n", "r", "e", "d"})


@dataclass(frozen=True)
class KeyFacts:
    """One key. ``expires_s`` is when the last part that can sign stops to (None: never), in Unix seconds."""

    fingerprint: Fingerprint
    user_ids: tuple[str, ...]
    created_s: int
    expires_s: int | None
    is_revoked: bool
    can_sign: bool

    def trouble(self, now_s: int, days: int = SOON_DAYS) -> str | None:
        """Why it will soon sign no more, or does not now; None for nothing."""
        if self.is_revoked:
            return "revoked"
        if self.expires_s is not None and self.expires_s <= now_s:
            return "expired"
        if not self.can_sign:
            return "it cannot sign"
        if self.expires_s is not None and self.expires_s <= now_s + days * _DAY_S:
            return f"expires in {max(1, (self.expires_s - now_s) // _DAY_S)} days"
        return None


def read_facts(keys: Mapping[Fingerprint, PublicKey]) -> dict[Fingerprint, KeyFacts]:
    """The facts of each key that gpg can read, and that is not flooded; raises `GnupgUnusable`."""
    ring = b"".join(key.to_bytes() for key in keys.values() if key.flood() is None)
    if not ring:
        return {}
    listed = ask_gpg(keys_as_packets(ring), "--list-keys")
    return {facts.fingerprint: facts for facts in parse_facts(listed)}


def parse_facts(listed: bytes) -> list[KeyFacts]:
    """What a listing of gpg's with colons (its doc/DETAILS) says of each primary key."""
    found = []
    for record in _by_key(fields_of(listed)):
        facts = _facts(record)
        if facts is not None:
            found.append(facts)
    return found


def fields_of(listed: bytes) -> Iterable[list[str]]:
    """The fields of each line, at least 21."""
    for line in listed.split(b"\n"):
        fields = [text.decode("utf-8", "replace") for text in line.split(b":")]
        if len(fields) > 1:
            yield fields + [""] * (21 - len(fields))


def printable(field: str) -> str:
    """A user id as gpg writes it, fit for a terminal."""
    raw = _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), field.encode())
    return "".join(c if c.isprintable() else "?" for c in raw.decode("utf-8", "replace"))


def _by_key(lines: Iterable[list[str]]) -> Iterable[list[list[str]]]:
    record: list[list[str]] = []
    for fields in lines:
        if fields[0] == "pub":
            if record:
                yield record
            record = []
        if fields[0] == "pub" or record:
            record.append(fields)
    if record:
        yield record


def _facts(record: list[list[str]]) -> KeyFacts | None:
    primary = record[0]
    fingerprint = next((line[9] for line in record if line[0] == "fpr"), "")
    if not re.fullmatch(r"[0-9A-F]{40}|[0-9A-F]{64}", fingerprint):
        return None
    until = _time(primary[6])
    ends = [
        _first(until, _time(part[6]))
        for part in record
        if part[0] in ("pub", "sub") and "s" in part[11] and (part[1] not in ("i", "n", "r", "d"))
    ]
    lasting = None if None in ends else max((end for end in ends if end is not None), default=until)
    return KeyFacts(
        Fingerprint(fingerprint),
        tuple(printable(line[9]) for line in record if line[0] == "uid" and line[1] not in _NO_GOOD - {"e"}),
        _time(primary[5]) or 0,
        lasting,
        primary[1] == "r",
        bool(ends) and primary[1] not in ("i", "n", "d"),
    )


def _time(field: str) -> int | None:
    return int(field) if field.isascii() and field.isdigit() and int(field) else None


def _first(a: int | None, b: int | None) -> int | None:
    return min((end for end in (a, b) if end is not None), default=None)
