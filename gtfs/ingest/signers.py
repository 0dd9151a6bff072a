# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signed commits and tags, by the keyring of now. Whether that one may is the policy's matter. One thread.

What gpgv found is remembered with the digest of the keyring, as a run takes 10 ms. Whether the key was good in time is
judged each time, from its dates: a verdict would grow old (design.md §10). What SSH keys signed is for `othersigners`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice

from gtfs.errors import without_frames
from gtfs.ids import Fingerprint, ObjectId
from gtfs.ingest.othersigners import OtherSigners, found_of, signature_row
from gtfs.pack.trees import MissingObject
from gtfs.reel.index import Index
from gtfs.reel.ledger import SignatureRow
from gtfs.repo.catfile import CatFile
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import PolicyRefused, judge_signer
from gtfs.trust.several import Kind, SignedRaw, find_signatures
from gtfs.trust.sshsig import AllowedSigners
from gtfs.trust.verify import At, FoundSignature

AT_ONCE = 256  # signatures that are looked for ahead of their turn
_KEEP_AT = 500  # signatures, seconds of gpgv's work
_OBJECT_BYTES = 1 << 30  # of a commit or tag; what comes in is limited to less


class Signers:
    """Answers for the objects of one repository; `keep` remembers what it found."""

    def __init__(
        self, index: Index, reader: CatFile, keyring: Keyring | None, ssh: AllowedSigners | None = None
    ) -> None:
        self.others = OtherSigners(index, self.raw, ssh)
        self._index = index
        self._reader = reader
        self._keyring = keyring
        self._known: dict[ObjectId, FoundSignature | PolicyRefused] = {}
        self._new: dict[ObjectId, SignatureRow] = {}

    def raw(self, oid: ObjectId) -> bytes:
        """The object's bytes; raises `PolicyRefused` for what is not here."""
        try:
            return self._reader.read(oid, _OBJECT_BYTES).data or b""
        except MissingObject:
            raise PolicyRefused(f"{oid.hex()} is missing in git", "unreadable", oid) from None

    def find(self, oids: Iterable[ObjectId], kind: Kind) -> None:
        """Look for the signatures of these, several at a time; `signer` then has them at once."""
        ring = self._keyring
        if ring is None:
            return
        wanted = [oid for oid in dict.fromkeys(oids) if oid not in self._known]
        for oid, row in self._index.signers.of(wanted).items():
            if row.keyring == ring.digest:
                self._known[oid] = found_of(row)
        unknown = iter([oid for oid in wanted if oid not in self._known])
        while part := list(islice(unknown, AT_ONCE)):
            for oid, found in find_signatures(self._raws(part, kind), ring, ring.primaries):
                self._known[oid] = found
                if isinstance(found, FoundSignature):
                    self._new[oid] = signature_row(found, ring.digest)
            if len(self._new) >= _KEEP_AT:
                self.keep()

    def _raws(self, oids: Iterable[ObjectId], kind: Kind) -> Iterator[SignedRaw]:
        for oid in oids:
            try:
                yield SignedRaw(oid, kind, self.raw(oid))
            except PolicyRefused as error:
                self._known[oid] = without_frames(error)

    def signer(self, oid: ObjectId, kind: Kind, at: At) -> Fingerprint:
        """The primary key or SSH key whose good signature it carries; raises `PolicyRefused`."""
        try:
            return self._openpgp_signer(oid, kind, at)
        except PolicyRefused:
            signer = self.others.ssh_signer(oid, kind)
            if signer is None:
                raise
            return signer

    def _openpgp_signer(self, oid: ObjectId, kind: Kind, at: At) -> Fingerprint:
        ring = self._keyring
        if ring is None:
            raise PolicyRefused("signatures are demanded, and no keyring is given (-o keyring=FILE)", "no-keyring")
        self.find([oid], kind)
        found = self._known[oid]
        if isinstance(found, PolicyRefused):
            raise PolicyRefused(found.reason, found.cause)
        return judge_signer(found, ring, at, int(time.time()))

    def evidence(self, oid: ObjectId) -> FoundSignature | None:
        """The signature that was last found good of this object, None if none was; it judges nothing."""
        found = self._known.get(oid)
        return found if isinstance(found, FoundSignature) else self.others.evidence(oid)

    def keep(self) -> None:
        """Remember what was found for the next time."""
        self.others.keep()
        if self._new and not self._index.read_only:
            self._index.signers.put(self._new)
        self._new = {}
