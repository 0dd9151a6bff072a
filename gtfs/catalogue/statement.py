# SPDX-License-Identifier: GPL-3.0-or-later
"""What each version of a publisher's statement says of itself, be it a catalogue or a collection. Pure; any thread.

The rules of acceptance (`gtfs.catalogue.accept`) look at nothing else, so there is one set of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NoReturn, Self

from gtfs.catalogue.refchunks import BadCatalogue
from gtfs.ids import BadId, Fingerprint, parse_fingerprint
from gtfs.trust.stanza import one_line, read_time, write_time

VERSIONS: Final = 1 << 53  # every version is below: what reads JSON as other programs do knows them apart
PREVIOUS: Final = 8  # statements that one can follow
SIGNERS: Final = 32

_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")

Fields = list[tuple[str, str | list[str]]]


@dataclass(frozen=True)
class Statement:
    """One version of what a publisher says of ``repository``. Times are Unix seconds."""

    repository: str  # its id; of a collection, the collection's
    version: int
    previous: str | None  # digest of the version before; None only for version 1
    date_s: int
    valid_until_s: int
    signers: tuple[Fingerprint, ...]  # who may sign the next version, and how many of them must
    threshold: int = 1
    freshness: tuple[Fingerprint, ...] = ()  # who may, besides, say that this version is still the newest
    raced: tuple[str, ...] = field(default=(), kw_only=True)  # digests of others', beside ``previous``, that it follows

    @property
    def follows(self) -> tuple[str, ...]:
        """The digests of all that it comes after."""
        return () if self.previous is None else (self.previous, *self.raced)

    def why_another(self, held: Self) -> str | None:
        """Why it is no statement on the same thing as ``held``; None where it is."""
        if self.repository != held.repository:
            return f"it is of {self.repository}, not of {held.repository}"
        return None

    def head_fields(self, subject: str) -> Fields:
        """The fields that come first in its text, after ``Format``."""
        fields: Fields = [(subject, self.repository), ("Version", str(self.version))]
        if self.previous is not None:
            fields.append(("Previous", [self.previous, *self.raced] if self.raced else self.previous))
        return [*fields, ("Date", write_time(self.date_s)), ("Valid-Until", write_time(self.valid_until_s))]

    def signer_fields(self) -> Fields:
        """Those on who may sign."""
        fields: Fields = [("Signers", list(self.signers)), ("Threshold", str(self.threshold))]
        if self.freshness:
            fields.append(("Freshness", list(self.freshness)))
        return fields


def bad(reason: str, name: str) -> NoReturn:
    """Raise `BadCatalogue` about a field."""
    raise BadCatalogue(reason, name)


def matching(values: dict[str, list[str]], name: str, pattern: re.Pattern[str], wanted: str) -> str:
    """The one line of a field, which fits; raises `BadCatalogue`, `BadStanza`."""
    value = one_line(values, name)
    return value if pattern.match(value) else bad(f"{value[:40]!r} is not {wanted}", name)


def read_statement(values: dict[str, list[str]], subject: str) -> Statement:
    """What the fields of a text say of itself; ``subject`` names the first. Raises `BadCatalogue`, `BadStanza`."""
    previous = _previous(values["previous"], "Previous") if "previous" in values else (None,)
    version = int(matching(values, "Version", _NUMBER, "a version number"))
    if version >= VERSIONS:
        bad(f"{version} is no number below 2^53", "Version")
    statement = Statement(
        repository=matching(values, subject, _SUBJECT, f"a {subject.lower()} id"),
        version=version,
        previous=previous[0],
        date_s=read_time(one_line(values, "Date")),
        valid_until_s=read_time(one_line(values, "Valid-Until")),
        signers=read_signers(values.get("signers", []), "Signers"),
        threshold=int(matching(values, "Threshold", _NUMBER, "a number of signers")),
        freshness=read_signers(values["freshness"], "Freshness") if "freshness" in values else (),
        raced=tuple(digest for digest in previous[1:] if digest is not None),
    )
    if (statement.previous is None) != (statement.version == 1):
        bad("version 1 has none, every later version has one", "Previous")
    if statement.valid_until_s <= statement.date_s:
        bad("it is not after Date", "Valid-Until")
    if set(statement.freshness) & set(statement.signers):
        bad("a signer may say so anyhow, and a key for this alone must sign nothing else", "Freshness")
    if statement.threshold > len(statement.signers):
        bad(f"{statement.threshold} signatures of {len(statement.signers)} signers", "Threshold")
    return statement


def read_signers(lines: list[str], name: str) -> tuple[Fingerprint, ...]:
    """The keys that a field lists; raises `BadCatalogue`."""
    try:
        signers = tuple(parse_fingerprint(line) for line in lines)
    except BadId as error:
        bad(str(error), name)
    if not signers or len(signers) > SIGNERS or len(set(signers)) != len(signers) or list(signers) != lines:
        bad(f"it must be 1 to {SIGNERS} different fingerprints, in capitals and without spaces", name)
    return signers


def _previous(lines: list[str], name: str) -> tuple[str | None, ...]:
    if not 1 <= len(lines) <= PREVIOUS or len(set(lines)) != len(lines) or not all(map(_DIGEST.match, lines)):
        bad(f"it must be 1 to {PREVIOUS} different SHA-256, in hex", name)
    return tuple(lines)
