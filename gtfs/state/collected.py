# SPDX-License-Identifier: GPL-3.0-or-later
"""The attestations that this node keeps, ``$GIT_DIR/gtfs/attestations`` (design.md §7, §10).

``<FINGERPRINT>.asc`` is the newest of an attester, by its primary key; the last few before it lie beside it, so that
what it says later is compared with more than one. What lies here is a hint: it is verified again whenever it is asked
for, by the ring and policy of then. Of an attester that signed two packs for one commit, both
documents are kept as evidence, and it counts for nothing while they lie here. One writer (the node's lock), any thread.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.catalogue.accept import Held
from gtfs.catalogue.statementstore import DamagedStore
from gtfs.durable import make_directory, replace_file
from gtfs.ids import Fingerprint, ObjectId
from gtfs.ingest.quorum import Collected
from gtfs.trust.attestation import (
    ATTESTATION_BYTES,
    ATTESTERS,
    Attestation,
    AttestationRefused,
    Attested,
    accept_attestation,
    open_attestation,
)
from gtfs.trust.gpgv import FUTURE_S, GpgvFailed
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import Policy

log = logging.getLogger(__name__)

_EVIDENCE: Final = 2  # documents of one attester prove it
_OLDER: Final = 8  # documents of one attester before its newest
_OLDER_BYTES: Final = 16 << 20  # of these together
_NAME = re.compile(r"([0-9A-F]{40}(?:[0-9A-F]{24})?)(-two-packs-[0-9a-f]{16}|-until-[0-9]{12})?\.asc\Z")


class TwoPacks(AttestationRefused):
    """An attester signed two packs for one commit or tag."""

    def __init__(self, attester: Fingerprint, oid: ObjectId, kept: Path) -> None:
        super().__init__(
            f"{attester} signed two packs of {oid.hex()} and counts no more; both documents are kept in {kept}"
            f" as {attester}-two-packs-*.asc: ask the attester, and delete them to let it count again"
        )


class Expected(NamedTuple):
    """What an attestation has to be about, and who may have signed it: the ring and the catalogue of now."""

    keyring: Keyring
    allowed: frozenset[Fingerprint] | None  # None: everybody whom the keyring does not keep by name only
    repository: str
    catalogue_digest: Callable[[int], str | None]  # of the accepted catalogue of a version, None for one never held


def expect(
    held: Held, keyring: Keyring, policies: Sequence[Policy], known_digest: Callable[[int], str | None]
) -> Expected:
    """What is expected with this catalogue, this ring and these ``policies`` of the node itself."""
    asking = [line for line in (*policies, *held.catalogue.policy) if line.quorum]
    named = [line.attesters for line in asking if line.attesters is not None]
    # Any that some line asks for; each ref's own line says who counts for it.
    allowed = frozenset[Fingerprint]().union(*named)
    if len(named) < len(asking):
        allowed |= keyring.everybody

    def catalogue_digest(version: int) -> str | None:
        return held.digest if version == held.catalogue.version else known_digest(version)

    return Expected(keyring, allowed, held.catalogue.repository, catalogue_digest)


class _Files(NamedTuple):
    """The newest document of each attester, what came before it, and the evidence against some."""

    newest: dict[Fingerprint, Path]
    older: dict[Fingerprint, list[Path]]
    evidence: dict[Fingerprint, list[Path]]


class AttestationStore:
    """Those under one directory; nothing is made before there is something to keep."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def _files(self) -> _Files:
        newest: dict[Fingerprint, Path] = {}
        older: dict[Fingerprint, list[Path]] = {}
        evidence: dict[Fingerprint, list[Path]] = {}
        for path in sorted(self.directory.iterdir()) if self.directory.is_dir() else ():
            match = _NAME.match(path.name)
            if match and match[2]:
                (older if "until" in match[2] else evidence).setdefault(Fingerprint(match[1]), []).append(path)
            elif match:
                newest[Fingerprint(match[1])] = path
        return _Files(newest, older, evidence)

    def evidence(self) -> dict[Fingerprint, list[Path]]:
        """The documents that are kept against attesters, by what the files are called."""
        return self._files().evidence

    def take(self, document: bytes, expected: Expected) -> bool:
        """Keep an attestation, durably, if it counts now; True if it is news.

        Raises `AttestationRefused`, `GpgvFailed`, OSError.
        """
        now_s = int(time.time())
        found = accept_attestation(document, expected.keyring, expected.allowed, expected.repository, now_s)
        _check_catalogue(found.statement, expected)
        newest, older, _ = self._files()
        path = newest.get(found.attester)
        if path is None and len(newest) >= ATTESTERS:
            raise AttestationRefused(f"{self.directory} has those of {ATTESTERS} attesters; delete what does not count")
        before = None if path is None else self._open(path, found.attester, expected, now_s)
        if before is not None:
            if before.document == document:
                return False
            for earlier in (before, *self._opened(older.get(found.attester, ()), found.attester, expected, now_s)):
                other = _two_packs(earlier.statement, found.statement)
                if other is not None:
                    self._keep_evidence(earlier, found)
                    raise TwoPacks(found.attester, other, self.directory)
            # One whose date has not come was taken by a clock that was ahead, and counts for nothing.
            if found.statement.date_s <= before.statement.date_s <= now_s + FUTURE_S:
                raise AttestationRefused("it is no newer than the one that is held")
        make_directory(self.directory)
        if before is not None:
            self._keep_older(before, older.get(found.attester, ()))
        replace_file(self.directory / f"{found.attester}.asc", document)
        return True

    def _keep_older(self, before: Attested, older: Sequence[Path]) -> None:
        """Keep what has been the newest, as one of a few."""
        replace_file(self.directory / f"{before.attester}-until-{before.statement.date_s:012}.asc", before.document)
        left = _OLDER_BYTES - len(before.document)
        for path in sorted(older, reverse=True)[_OLDER - 1 :]:
            path.unlink(missing_ok=True)
        for path in sorted(older, reverse=True)[: _OLDER - 1]:
            left -= path.stat().st_size
            if left < 0:
                path.unlink()

    def _opened(
        self, paths: Sequence[Path], attester: Fingerprint, expected: Expected, now_s: int
    ) -> Iterator[Attested]:
        for path in sorted(paths, reverse=True):
            found = self._open(path, attester, expected, now_s)
            if found is not None:
                yield found

    def _keep_evidence(self, *both: Attested) -> None:
        attester = both[0].attester
        if len(self.evidence().get(attester, ())) >= _EVIDENCE:
            return
        for found in both:
            prefix = hashlib.sha256(found.document).hexdigest()[:16]
            replace_file(self.directory / f"{attester}-two-packs-{prefix}.asc", found.document)
        log.error("attester %s signed two packs for one commit; see %s", attester, self.directory)

    def _open(self, path: Path, attester: Fingerprint, expected: Expected, now_s: int) -> Attested | None:
        """A kept document, if its attester's key is good now.

        Raises `GpgvFailed`, OSError: what cannot be looked at is no evidence less.
        """
        try:
            return open_attestation(_read(path), expected.keyring, frozenset({attester}), now_s)
        except (AttestationRefused, FileNotFoundError):
            return None

    def verified(self, expected: Expected) -> Collected:
        """What counts now of what is kept, whatever it was when it was taken in."""
        now_s = int(time.time())
        good: dict[Fingerprint, Attestation] = {}
        useless: dict[Fingerprint, str] = {}
        newest, _, evidence = self._files()
        for attester, path in newest.items():
            allowed = frozenset({attester})
            try:
                found = accept_attestation(_read(path), expected.keyring, allowed, expected.repository, now_s)
                _check_catalogue(found.statement, expected)
            except AttestationRefused as error:
                useless[attester] = error.reason
            except (GpgvFailed, OSError) as error:
                useless[attester] = str(error)
            else:
                good[attester] = found.statement
        for attester, paths in evidence.items():
            try:
                opened = [self._open(path, attester, expected, now_s) for path in paths[:_EVIDENCE]]
            except (GpgvFailed, OSError) as error:
                good.pop(attester, None)
                useless[attester] = f"what is kept against it cannot be looked at: {error}"
                continue
            said = [found.statement for found in opened if found is not None]
            if len(said) == _EVIDENCE and (other := _two_packs(*said)) is not None:
                good.pop(attester, None)
                useless[attester] = f"signed two packs of {other.hex()}"
        return Collected(good, useless)


def _two_packs(one: Attestation, other: Attestation) -> ObjectId | None:
    """A commit or tag of which these name two packs, if there is one: an honest attester has signed no such two."""
    both = one.packs.keys() & other.packs.keys() if one.repository == other.repository else ()
    return min((oid for oid in both if one.packs[oid] != other.packs[oid]), default=None)


def _check_catalogue(said: Attestation, expected: Expected) -> None:
    """Raise `AttestationRefused` where the attester took another text for the catalogue of a version that we know."""
    try:
        ours = expected.catalogue_digest(said.version)
    except DamagedStore as error:  # it says nothing of the other attesters
        raise AttestationRefused(str(error)) from None
    if ours is not None and ours != said.catalogue:
        raise AttestationRefused(
            f"the attester verified another catalogue of version {said.version} than this node: ask the publisher"
        )


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(ATTESTATION_BYTES + 1)
