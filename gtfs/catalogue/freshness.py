# SPDX-License-Identifier: GPL-3.0-or-later
"""Freshness statements: "the catalogue of this version and digest is still the newest until then" (design.md §5).

A key that may be online signs them, so that the one that signs catalogues need not come out for that. A statement
moves no ref and names no reel: all that it can do is to keep the held catalogue from going stale. Any thread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gtfs.catalogue.accept import Held
from gtfs.errors import Blame, GtfsError
from gtfs.trust.gpgv import FUTURE_S
from gtfs.trust.keyring import Keyring
from gtfs.trust.stanza import BadStanza, one_line, read_stanza, read_time, write_stanza, write_time
from gtfs.trust.verify import BadSignature, read_clearsigned

FORMAT: Final = "gtfs-freshness-1"
DOCUMENT_BYTES: Final = 64 << 10
LONGEST_S: Final = 60 * 24 * 3600

_MARK: Final = b"\nFormat: " + FORMAT.encode("ascii") + b"\n"
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class FreshnessRefused(GtfsError):
    """A freshness statement that is not believed."""

    fault = Blame.TRUST

    def __init__(self, reason: str) -> None:
        super().__init__(f"freshness statement refused: {reason}")
        self.reason = reason


class NewerExists(FreshnessRefused):
    """A good statement about a newer catalogue than the held one: somebody keeps that from this node."""


@dataclass(frozen=True)
class Freshness:
    """One statement; times are Unix seconds."""

    repository: str
    version: int
    digest: str  # of the catalogue's signed text
    date_s: int
    valid_until_s: int

    def to_text(self) -> str:
        """The one text of this statement."""
        return write_stanza(
            [
                ("Format", FORMAT),
                ("Repository", self.repository),
                ("Version", str(self.version)),
                ("Catalogue", self.digest),
                ("Date", write_time(self.date_s)),
                ("Valid-Until", write_time(self.valid_until_s)),
            ]
        )


def looks_like_freshness(document: bytes) -> bool:
    """Whether to judge a document by the rules of these rather than by a catalogue's; nothing is believed yet."""
    return len(document) <= DOCUMENT_BYTES and _MARK in document[:1024]


def freshness_from_text(text: bytes) -> Freshness:
    """The statement in an extracted text. Unknown fields are ignored; raises `FreshnessRefused`."""
    try:
        values = read_stanza(text)
        if one_line(values, "Format") != FORMAT:
            raise FreshnessRefused(f"unknown format {one_line(values, 'Format')[:40]!r}; a newer gtfs may know it")
        found = {}
        for name, pattern in (("Repository", _REPOSITORY), ("Version", _NUMBER), ("Catalogue", _DIGEST)):
            found[name] = one_line(values, name)
            if not pattern.match(found[name]):
                raise FreshnessRefused(f"{name}: {found[name][:40]!r} cannot be understood")
        date_s, valid_until_s = (read_time(one_line(values, name)) for name in ("Date", "Valid-Until"))
    except BadStanza as error:
        raise FreshnessRefused(error.reason) from None
    if not date_s < valid_until_s <= date_s + LONGEST_S:
        raise FreshnessRefused(f"Valid-Until: it is not after Date, or more than {LONGEST_S // 86400} days after it")
    return Freshness(found["Repository"], int(found["Version"]), found["Catalogue"], date_s, valid_until_s)


def accept_freshness(document: bytes, held: Held, keyring: Keyring, now_s: int) -> Freshness | None:
    """The statement, if it may be believed and is about the held catalogue; None if it is about an older one.

    One signature by a key of the held catalogue's ``Freshness`` will do, or as many by its ``Signers`` as sign a
    catalogue. Raises `FreshnessRefused`, `NewerExists`, `GpgvFailed`.
    """
    if len(document) > DOCUMENT_BYTES:
        raise FreshnessRefused(f"over the limit freshness: {len(document)} bytes where {DOCUMENT_BYTES} are allowed")
    now, signers = held.catalogue, frozenset(held.catalogue.signers)
    helpers = frozenset(now.freshness)
    try:
        signed = read_clearsigned(document, keyring, signers | helpers, now_s=now_s)
    except BadSignature as error:
        raise FreshnessRefused(error.reason) from None
    by = {signature.primary for signature in signed.signatures}
    if not by & helpers and len(by & signers) < now.threshold:
        why = "; ".join(map(str, signed.rejected)) or f"{len(by)} of {now.threshold} signers"
        raise FreshnessRefused(f"it is signed by nobody who may say so ({why})")
    said = freshness_from_text(signed.text)
    if said.repository != now.repository:
        raise FreshnessRefused(f"it is of {said.repository}, not of {now.repository}")
    if said.date_s > now_s + FUTURE_S:
        raise FreshnessRefused(f"its date {write_time(said.date_s)} has not come; are the clocks right?")
    if said.version > now.version:
        raise NewerExists(
            f"it is about version {said.version}: a newer catalogue exists than the held version {now.version}"
        )
    if said.version < now.version:
        return None
    if said.digest != held.digest:
        raise FreshnessRefused(f"it is about another catalogue of version {said.version} than the held one")
    return said
