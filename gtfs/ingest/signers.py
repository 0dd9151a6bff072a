# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signed commits and tags, by the keyring of now. Whether that one may is the policy's matter. One thread.

What gpgv found is remembered with the digest of the keyring, as it takes 10 ms each time. What an earlier keyring told
counts for one thing only: a key that has expired since, and was neither removed nor revoked, keeps what was found good
before (design.md §10). What SSH keys signed is for `othersigners`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal

from gtfs.ids import Fingerprint, ObjectId
from gtfs.ingest.othersigners import OtherSigners
from gtfs.pack.trees import MissingObject
from gtfs.reel.index import Index
from gtfs.repo.catfile import CatFile
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import PolicyRefused, SignerExpired, parse_vouch, read_signer
from gtfs.trust.sshsig import AllowedSigners

_KEEP_AT = 500  # signatures, five seconds of gpgv's work
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
        self._revoked: frozenset[Fingerprint] | None = None  # read when it matters
        self._known: dict[ObjectId, tuple[str, bytes]] = {}
        self._found: dict[ObjectId, tuple[str, bytes]] = {}

    def look_up(self, oids: Iterable[ObjectId]) -> None:
        """Read at once what is remembered of these."""
        self._known.update(self._index.signers.of(oid for oid in oids if oid not in self._known))

    def raw(self, oid: ObjectId) -> bytes:
        """The object's bytes; raises `PolicyRefused` for what is not here."""
        try:
            return self._reader.read(oid, _OBJECT_BYTES).data or b""
        except MissingObject:
            raise PolicyRefused(f"{oid.hex()} is missing in git") from None

    def signer(self, oid: ObjectId, kind: Literal["commit", "tag"]) -> Fingerprint:
        """The primary key or SSH key whose good signature it carries; raises `PolicyRefused`."""
        try:
            return self._openpgp_signer(oid, kind)
        except PolicyRefused:
            signer = self.others.ssh_signer(oid, kind)
            if signer is None:
                raise
            return signer

    def _openpgp_signer(self, oid: ObjectId, kind: Literal["commit", "tag"]) -> Fingerprint:
        ring = self._keyring
        if ring is None:
            raise PolicyRefused("signatures are demanded, and no keyring is given (-o keyring=FILE)")
        if oid not in self._known:
            self.look_up([oid])
        before, digest = self._known.get(oid) or (self._signed_off(oid), b"")
        if before and digest == ring.digest:
            return Fingerprint(before)
        try:
            signer = read_signer(self.raw(oid), kind, ring, ring.primaries, now_s=int(time.time()))
        except SignerExpired:
            if self._revoked is None:
                self._revoked = ring.revoked()
            if before not in ring.primaries or before in self._revoked:
                raise
            signer = Fingerprint(before)
        self._known[oid] = self._found[oid] = (signer, ring.digest)
        if len(self._found) >= _KEEP_AT:
            self.keep()
        return signer

    def _signed_off(self, oid: ObjectId) -> str:
        """Whose good signature this node saw when it let the object in; "" if none."""
        signoff = self._index.signoffs.get(oid)
        vouch = None if signoff is None else parse_vouch(signoff.vouch)
        return vouch.signers[0] if vouch is not None and vouch.kind == "signed" and vouch.signers else ""

    def keep(self) -> None:
        """Remember what was found for the next time."""
        self.others.keep()
        if self._found and not self._index.read_only:
            self._index.signers.put(self._found)
        self._found = {}
