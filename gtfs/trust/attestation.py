# SPDX-License-Identifier: GPL-3.0-or-later
"""Attestations: an attester's signed statement that it verified another's catalogue up to these refs (design.md §10).

The clear-signed text is one stanza, gtfs-catalogue(5). Here is what it says, and whether to believe it; who has signed
off what is for `gtfs.ingest.quorum`. Any thread; no index, no policy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gtfs.errors import Blame, GtfsError
from gtfs.ids import BadId, Fingerprint, ObjectId, PackDigest, parse_object_id
from gtfs.trust.gpgv import FUTURE_S
from gtfs.trust.keyring import Keyring
from gtfs.trust.refnames import BadRefName, check_ref_name, decode_name, encode_name
from gtfs.trust.stanza import BadStanza, one_line, read_stanza, read_time, write_stanza, write_time
from gtfs.trust.verify import DOCUMENT_BYTES, BadSignature, read_clearsigned

FORMAT: Final = "gtfs-attestation-1"
ATTESTATION_BYTES: Final = DOCUMENT_BYTES  # design.md §13; a ref takes about 200
ATTESTERS: Final = 64  # of which a node keeps something: as many as a threshold may ask for

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z")
_VERSION = re.compile(r"[1-9][0-9]{0,17}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_BEGINNING: Final = b"\n\nFormat: " + FORMAT.encode() + b"\n"
_HEAD_BYTES: Final = 8192  # of a clear-signed document, before its text


class AttestationRefused(GtfsError):
    """A document that signs off nothing here; ``reason`` is the rule that it breaks."""

    fault = Blame.TRUST

    def __init__(self, reason: str) -> None:
        super().__init__(f"attestation refused: {reason}")
        self.reason = reason


class StaleAttestation(AttestationRefused):
    """Past ``Valid-Until``."""


@dataclass(frozen=True)
class Attestation:
    """What an attester says of a repository. Times are Unix seconds; ``refs`` and ``packs`` are sorted."""

    repository: str
    version: int  # of the catalogue that was verified
    catalogue: str  # the SHA-256 of its text, in hex
    date_s: int
    valid_until_s: int
    refs: dict[bytes, ObjectId] = field(default_factory=dict)  # verified with all their history
    packs: dict[ObjectId, PackDigest] = field(
        default_factory=dict
    )  # of the commits and tags of refs, and tags' commits

    def to_text(self) -> str:
        """The one text of this statement; raises `AttestationRefused` if `read_attestation` would not take it."""
        text = self._text()
        read_attestation(text.encode())
        return text

    def _text(self) -> str:
        return write_stanza(
            [
                ("Format", FORMAT),
                ("Repository", self.repository),
                ("Version", str(self.version)),
                ("Catalogue", self.catalogue),
                ("Date", write_time(self.date_s)),
                ("Valid-Until", write_time(self.valid_until_s)),
                ("Refs", [f"{oid.hex()} {encode_name(name)}" for name, oid in sorted(self.refs.items())]),
                ("Packs", [f"{oid.hex()} {digest.hex()}" for oid, digest in sorted(self.packs.items())]),
            ]
        )


class Attested(NamedTuple):
    """An attestation that is believed, and whose it is."""

    attester: Fingerprint  # of the primary key
    statement: Attestation
    document: bytes


def looks_like_attestation(document: bytes) -> bool:
    """Whether a clear-signed document means to be one; whether it is any good is for `accept_attestation`."""
    return _BEGINNING in document[:_HEAD_BYTES]


def read_attestation(text: bytes) -> Attestation:
    """The statement in a text, which can be written in one way only; raises `AttestationRefused`."""
    if len(text) > ATTESTATION_BYTES:
        raise AttestationRefused(f"over the limit attestation: {len(text)} bytes where {ATTESTATION_BYTES} are allowed")
    try:
        values = read_stanza(text)
        if one_line(values, "Format") != FORMAT:
            raise AttestationRefused(f"unknown format {one_line(values, 'Format')[:40]!r}; a newer gtfs may know it")
        found = Attestation(
            _matching(values, "Repository", _REPOSITORY),
            int(_matching(values, "Version", _VERSION)),
            _matching(values, "Catalogue", _DIGEST),
            read_time(one_line(values, "Date")),
            read_time(one_line(values, "Valid-Until")),
            dict(_ref(line) for line in values.get("refs", ())),
            dict(_pack(line) for line in values.get("packs", ())),
        )
        is_canonical = found._text().encode() == text
    except (BadStanza, BadId, BadRefName) as error:
        raise AttestationRefused(str(error)) from None
    if not is_canonical:
        raise AttestationRefused("an unknown or repeated line, or one that is not in order")
    if found.valid_until_s <= found.date_s:
        raise AttestationRefused("Valid-Until is not after Date")
    if not found.packs or len({len(oid) for oid in found.packs}) > 1:
        raise AttestationRefused("Packs: ids of one hash are due")
    if not found.packs.keys() >= set(found.refs.values()):
        raise AttestationRefused("Packs: the pack of a ref is missing")
    return found


def _matching(values: dict[str, list[str]], name: str, pattern: re.Pattern[str]) -> str:
    value = one_line(values, name)
    if not pattern.match(value):
        raise AttestationRefused(f"{name}: {value[:40]!r} cannot be that")
    return value


def _ref(line: str) -> tuple[bytes, ObjectId]:
    oid, _, text = line.partition(" ")
    name = decode_name(text)
    check_ref_name(name)
    return name, parse_object_id(oid)


def _pack(line: str) -> tuple[ObjectId, PackDigest]:
    oid, _, digest = line.partition(" ")
    if not _DIGEST.match(digest):
        raise AttestationRefused(f"Packs: {line[:60]!r} is not an id and a SHA-256")
    return parse_object_id(oid), PackDigest(bytes.fromhex(digest))


def open_attestation(document: bytes, keyring: Keyring, allowed: frozenset[Fingerprint] | None, now_s: int) -> Attested:
    """What one of ``allowed`` said, whether it still counts or not; raises `AttestationRefused`, `GpgvFailed`.

    ``allowed`` are primary fingerprints; None means everybody whom the keyring does not keep by name only.
    """
    if len(document) > ATTESTATION_BYTES:
        raise AttestationRefused(f"over the limit attestation: more than {ATTESTATION_BYTES} bytes")
    try:
        signed = read_clearsigned(document, keyring, allowed, now_s=now_s)
    except BadSignature as error:
        raise AttestationRefused(error.reason) from None
    if len(signed.signatures) != 1:
        why = "; ".join(map(str, signed.rejected)) or "there is none" if not signed.signatures else "there are more"
        raise AttestationRefused(f"one attester signs one, and no other: {why}")
    return Attested(signed.signatures[0].primary, read_attestation(signed.text), document)


def accept_attestation(
    document: bytes, keyring: Keyring, allowed: frozenset[Fingerprint] | None, repository: str, now_s: int
) -> Attested:
    """What one of ``allowed`` says now of this repository; raises `AttestationRefused`, `GpgvFailed`."""
    found = open_attestation(document, keyring, allowed, now_s)
    said = found.statement
    if said.repository != repository:
        raise AttestationRefused(f"it is about {said.repository}, not about {repository}")
    if said.date_s > now_s + FUTURE_S:
        raise AttestationRefused(f"its date {write_time(said.date_s)} has not come; are the clocks right?")
    if now_s > said.valid_until_s:
        raise StaleAttestation(f"it is past its Valid-Until, {write_time(said.valid_until_s)}")
    return found
