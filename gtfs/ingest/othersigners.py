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
from gtfs.reel.ledger import SignatureRow
from gtfs.trust.gpgv import BadSignature
from gtfs.trust.keyring import Keyring
from gtfs.trust.objects import BadSignedObject, split_signed_object
from gtfs.trust.policy import PolicyRefused, find_signature, judge_signer, named_signing_key
from gtfs.trust.sshsig import HOW, AllowedSigners, verify_ssh
from gtfs.trust.verify import At, FoundSignature

_KEEP_AT: Final = 500  # signatures, five seconds of gpgv's work

Kind = Literal["commit", "tag"]


class OtherSigners:
    """Answers for objects that ``raw`` reads; `keep` remembers what it found."""

    def __init__(self, index: Index, raw: Callable[[ObjectId], bytes], ssh: AllowedSigners | None) -> None:
        self._index = index
        self._raw = raw
        self._ssh = ssh
        self._known: dict[ObjectId, SignatureRow | None] = {}
        self._found: dict[ObjectId, SignatureRow] = {}
        self._asked: set[ObjectId] = set()  # of ssh-keygen, now

    def look_up(self, oids: Iterable[ObjectId]) -> None:
        """Read at once what is remembered of these."""
        wanted = [oid for oid in oids if oid not in self._known]
        self._known.update(dict.fromkeys(wanted))
        self._known.update(self._index.signers.of(wanted))

    def signer_in(self, oid: ObjectId, kind: Kind, ring: Keyring, at: At) -> Fingerprint:
        """The primary key of ``ring`` whose good signature it carries; raises `PolicyRefused`."""
        now_s = int(time.time())
        row = self._before(oid)
        found = None if row is None or row.signer not in ring.primaries else found_of(row)
        if row is None or found is None or row.keyring != _digest_of(ring, found.primary):
            found = find_signature(self._raw(oid), kind, ring, ring.primaries, now_s=now_s)
            self._note(oid, signature_row(found, _digest_of(ring, found.primary)))
        return judge_signer(found, ring, at, now_s)

    def ssh_signer(self, oid: ObjectId, kind: Kind) -> Fingerprint | None:
        """The SSH key whose good signature it carries, None if it has none of SSH; raises `PolicyRefused`."""
        row, ssh = self._before(oid), self._ssh
        is_lasting = ssh is not None and (oid in self._asked or not ssh.is_timed)
        if ssh is not None and row is not None and row.keyring == ssh.digest and is_lasting:
            return Fingerprint(row.signer)
        try:
            signed = split_signed_object(self._raw(oid))
        except BadSignedObject:
            return None
        if signed.signature is None or signed.kind != "ssh":
            return None
        if self._ssh is None:
            raise PolicyRefused(f"the {kind} has an SSH signature, and this node knows no SSH keys; {HOW}", "ssh-keys")
        try:
            signer = verify_ssh(signed.payload, signed.signature, self._ssh)
        except BadSignature as error:
            raise PolicyRefused(error.reason, error.cause) from None
        self._asked.add(oid)
        self._note(oid, SignatureRow(signer, signer, 0, None, self._ssh.digest))
        return signer

    def signing_key(self, oid: ObjectId) -> Fingerprint | None:
        """The part of a key that made its OpenPGP signature, if that was found good."""
        return named_signing_key(self._raw(oid))

    def evidence(self, oid: ObjectId) -> FoundSignature | None:
        """The signature that was last found good of this object; it judges nothing."""
        row = self._known.get(oid)
        return None if row is None else found_of(row)

    def _before(self, oid: ObjectId) -> SignatureRow | None:
        """What was found before."""
        if oid not in self._known:
            self.look_up([oid])
        return self._known[oid]

    def _note(self, oid: ObjectId, row: SignatureRow) -> None:
        self._known[oid] = self._found[oid] = row
        if len(self._found) >= _KEEP_AT:
            self.keep()

    def keep(self) -> None:
        """Remember what was found for the next time."""
        if self._found and not self._index.read_only:
            self._index.signers.put(self._found)
        self._found = {}


def signature_row(found: FoundSignature, keyring: bytes) -> SignatureRow:
    """What the index remembers of a signature that was found with the keys of this digest."""
    return SignatureRow(found.primary, found.part, found.made_s, found.expires_s, keyring)


def found_of(row: SignatureRow) -> FoundSignature:
    """The signature that `signature_row` recorded."""
    return FoundSignature(Fingerprint(row.signer), Fingerprint(row.part), row.made_s, row.expires_s, "recorded")


def _digest_of(ring: Keyring, primary: Fingerprint) -> bytes:
    return hashlib.sha256(ring.keys[primary].to_bytes() + ring.revokers(primary)).digest()
