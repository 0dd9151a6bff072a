# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signed commits and tags, by other keys than those of the node's ring: of a list in the tree, or SSH keys.

What was found is remembered as in `signers`: with the digest of the one key, so that a list in which others change is
no new one, or with that of the file of allowed signers. One thread.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import Final, Literal

from gtfs.ids import Fingerprint, ObjectId
from gtfs.reel.index import Index
from gtfs.trust.gpgv import BadSignature
from gtfs.trust.keyring import Keyring
from gtfs.trust.objects import BadSignedObject, split_signed_object
from gtfs.trust.policy import PolicyRefused, SignerExpired, named_signing_key, read_signer
from gtfs.trust.sshsig import HOW, AllowedSigners, verify_ssh

_KEEP_AT: Final = 500  # signatures, five seconds of gpgv's work

Kind = Literal["commit", "tag"]


class OtherSigners:
    """Answers for objects that ``raw`` reads; `keep` remembers what it found."""

    def __init__(self, index: Index, raw: Callable[[ObjectId], bytes], ssh: AllowedSigners | None) -> None:
        self._index = index
        self._raw = raw
        self._ssh = ssh
        self._known: dict[ObjectId, tuple[str, bytes]] = {}
        self._found: dict[ObjectId, tuple[str, bytes]] = {}

    def look_up(self, oids: Iterable[ObjectId]) -> None:
        """Read at once what is remembered of these."""
        wanted = [oid for oid in oids if oid not in self._known]
        self._known.update(dict.fromkeys(wanted, ("", b"")))
        self._known.update(self._index.signers.of(wanted))

    def signer_in(self, oid: ObjectId, kind: Kind, ring: Keyring) -> Fingerprint:
        """The primary key of ``ring`` whose good signature it carries; raises `PolicyRefused`."""
        before, digest = self._before(oid)
        if before in ring.primaries and digest == _digest_of(ring, before):
            return before
        try:
            signer = read_signer(self._raw(oid), kind, ring, ring.primaries, now_s=int(time.time()))
        except SignerExpired:
            if before not in ring.primaries or ring.keys[before].has_revocation():
                raise
            signer = before
        return self._note(oid, signer, _digest_of(ring, signer))

    def ssh_signer(self, oid: ObjectId, kind: Kind) -> Fingerprint | None:
        """The SSH key whose good signature it carries, None if it has none of SSH; raises `PolicyRefused`."""
        before, digest = self._before(oid)
        if self._ssh is not None and before and digest == self._ssh.digest:
            return before
        try:
            signed = split_signed_object(self._raw(oid))
        except BadSignedObject:
            return None
        if signed.signature is None or signed.kind != "ssh":
            return None
        if self._ssh is None:
            raise PolicyRefused(f"the {kind} has an SSH signature, and this node knows no SSH keys; {HOW}")
        try:
            return self._note(oid, verify_ssh(signed.payload, signed.signature, self._ssh), self._ssh.digest)
        except BadSignature as error:
            raise PolicyRefused(error.reason) from None

    def signing_key(self, oid: ObjectId) -> Fingerprint | None:
        """The part of a key that made its OpenPGP signature, if that was found good."""
        return named_signing_key(self._raw(oid))

    def _before(self, oid: ObjectId) -> tuple[Fingerprint, bytes]:
        """What was found good before, by the keys of which digest; "" if nothing."""
        if oid not in self._known:
            self.look_up([oid])
        signer, digest = self._known[oid]
        return Fingerprint(signer), digest

    def _note(self, oid: ObjectId, signer: Fingerprint, digest: bytes) -> Fingerprint:
        self._known[oid] = self._found[oid] = (signer, digest)
        if len(self._found) >= _KEEP_AT:
            self.keep()
        return signer

    def keep(self) -> None:
        """Remember what was found for the next time."""
        if self._found and not self._index.read_only:
            self._index.signers.put(self._found)
        self._found = {}


def _digest_of(ring: Keyring, primary: Fingerprint) -> bytes:
    return hashlib.sha256(ring.alone(primary)).digest()
