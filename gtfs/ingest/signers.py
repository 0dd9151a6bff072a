# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signed commits and tags, by the keys of now. Whether that one may is the policy's matter. One thread.

What gpgv found is remembered with the digest of the keyring, as it takes 10 ms each time. What an earlier keyring told
counts for one thing only: a key that has expired since, and was neither removed nor revoked, keeps what was found good
before (design.md §10). SSH keys count as the node's file of allowed signers says.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from typing import Literal

from gtfs.ids import Fingerprint, ObjectId
from gtfs.pack.trees import MissingObject
from gtfs.reel.index import Index
from gtfs.repo.catfile import CatFile
from gtfs.trust.gpgv import BadSignature
from gtfs.trust.keyring import Keyring
from gtfs.trust.objects import BadSignedObject, split_signed_object
from gtfs.trust.policy import PolicyRefused, SignerExpired, named_signing_key, read_signer
from gtfs.trust.sshsig import HOW, AllowedSigners, verify_ssh

_KEEP_AT = 500  # signatures, five seconds of gpgv's work
_OBJECT_BYTES = 1 << 30  # of a commit or tag; what comes in is limited to less


class Signers:
    """Answers for the objects of one repository; `keep` remembers what it found."""

    def __init__(
        self, index: Index, reader: CatFile, keyring: Keyring | None, ssh: AllowedSigners | None = None
    ) -> None:
        self._index = index
        self._reader = reader
        self._keyring = keyring
        self._ssh = ssh
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
        ring, ssh = self._keyring, self._ssh
        before, digest = self._before(oid)
        if before and digest in (ring and ring.digest, ssh and ssh.digest):
            return before
        raw = self.raw(oid)
        if (payload := _ssh_signed(raw)) is not None:
            return self._by_ssh(oid, kind, *payload)
        if ring is None:
            raise PolicyRefused("signatures are demanded, and no keyring is given (-o keyring=FILE)")
        try:
            signer = read_signer(raw, kind, ring, ring.primaries, now_s=int(time.time()))
        except SignerExpired:
            if self._revoked is None:
                self._revoked = ring.revoked()
            if before not in ring.primaries or before in self._revoked:
                raise
            signer = before
        return self._note(oid, signer, ring.digest)

    def signer_in(self, oid: ObjectId, kind: Literal["commit", "tag"], ring: Keyring) -> Fingerprint:
        """The same by the keys of another ring alone; raises `PolicyRefused`.

        Remembered with the digest of the one key, so that a ring in which others change is no new one.
        """
        before, digest = self._before(oid)
        if before in ring.primaries and digest == _digest_of(ring, before):
            return before
        try:
            signer = read_signer(self.raw(oid), kind, ring, ring.primaries, now_s=int(time.time()))
        except SignerExpired:
            if before not in ring.primaries or ring.keys[before].has_revocation():
                raise
            signer = before
        return self._note(oid, signer, _digest_of(ring, signer))

    def signing_key(self, oid: ObjectId) -> Fingerprint | None:
        """The part of a key that made its OpenPGP signature, if `signer` found that good."""
        return named_signing_key(self.raw(oid))

    def _by_ssh(self, oid: ObjectId, kind: Literal["commit", "tag"], payload: bytes, signature: bytes) -> Fingerprint:
        if self._ssh is None:
            raise PolicyRefused(f"the {kind} has an SSH signature, and this node knows no SSH keys; {HOW}")
        try:
            return self._note(oid, verify_ssh(payload, signature, self._ssh), self._ssh.digest)
        except BadSignature as error:
            raise PolicyRefused(error.reason) from None

    def _before(self, oid: ObjectId) -> tuple[Fingerprint, bytes]:
        """What was found good before, by the keys of which digest; "" if nothing."""
        if oid not in self._known:
            self.look_up([oid])
        signer, digest = self._known.get(oid) or (self._signed_off(oid), b"")
        return Fingerprint(signer), digest

    def _note(self, oid: ObjectId, signer: Fingerprint, digest: bytes) -> Fingerprint:
        self._known[oid] = self._found[oid] = (signer, digest)
        if len(self._found) >= _KEEP_AT:
            self.keep()
        return signer

    def _signed_off(self, oid: ObjectId) -> str:
        """Whose good signature this node saw when it let the object in; "" if none."""
        signoff = self._index.signoffs.get(oid)
        return signoff.vouch.removeprefix("signed:") if signoff and signoff.vouch.startswith("signed:") else ""

    def keep(self) -> None:
        """Remember what was found for the next time."""
        if self._found and not self._index.read_only:
            self._index.signers.put(self._found)
        self._found = {}


def _digest_of(ring: Keyring, primary: Fingerprint) -> bytes:
    return hashlib.sha256(ring.alone(primary)).digest()


def _ssh_signed(raw: bytes) -> tuple[bytes, bytes] | None:
    """What is signed and the signature, where that is one by an SSH key."""
    try:
        signed = split_signed_object(raw)
    except BadSignedObject as error:
        raise PolicyRefused(error.reason) from None
    return None if signed.signature is None or signed.kind != "ssh" else (signed.payload, signed.signature)
