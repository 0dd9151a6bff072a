# SPDX-License-Identifier: GPL-3.0-or-later
"""One public key as its packets, without what gpgv could stumble over. Pure functions, any thread.

Nothing here is verified: what stands in a key counts for gpgv only where the key's owner signed it. Left out is what
says nothing about its signatures (what other people certify, and they may be a million) and what gpgv cannot read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from gtfs.ids import Fingerprint
from gtfs.trust.packets import (
    PUBLIC_KEY,
    PUBLIC_SUBKEY,
    SECRET_KEY,
    SECRET_SUBKEY,
    SIGNATURE,
    STRONG_DIGESTS,
    USER_ATTRIBUTE,
    USER_ID,
    BadPackets,
    Packet,
    SignatureClaim,
    claim_of,
    is_whole_key,
    is_whole_signature,
    key_fingerprint,
    key_id,
    read_packets,
    revokers_of,
)

_ORDER: Final = {PUBLIC_KEY: 0, USER_ID: 1, USER_ATTRIBUTE: 1, PUBLIC_SUBKEY: 2}  # RFC 4880 §11.1
_NAMES: Final = {USER_ID: "user id", USER_ATTRIBUTE: "picture", PUBLIC_SUBKEY: "subkey", SIGNATURE: "signature"}
# gpgv refuses a key for a user id of more than 2 KiB, and a ring for an attribute of more than 16 MiB.
_MOST_BYTES: Final = {
    PUBLIC_KEY: 0xFFFF, USER_ID: 2048, USER_ATTRIBUTE: 1 << 20, PUBLIC_SUBKEY: 0xFFFF, SIGNATURE: 0xFFFF,
}  # fmt: skip
_VERSIONS: Final = range(2, 6)  # of signatures
OWN_SIGNATURES: Final = 300  # on one key that claim to be its own, each verified at every use; Debian's have 70 at most
REVOKERS: Final = 32  # keys that one lets revoke it, each shown beside it
_CERTIFICATIONS: Final = range(0x10, 0x14)
_DIRECT: Final = 0x1F
_BINDING: Final = 0x18
_KEY_REVOKED: Final = 0x20  # RFC 4880 §5.2.1
_SUBKEY_REVOKED: Final = 0x28


class SecretKeyFound(BadPackets):
    """A secret key where public ones were expected."""


@dataclass
class _Part:
    """A primary key, user id or subkey as it was written, and the signatures on it, without repeats."""

    packet: Packet
    signatures: dict[bytes, Packet] = field(default_factory=dict)  # by body, which the header's form does not change


@dataclass
class PublicKey:
    """A primary key with its user ids and subkeys; ``parts`` by place (see _ORDER) and body."""

    fingerprint: Fingerprint
    parts: dict[tuple[int, bytes], _Part] = field(default_factory=dict)

    def merge(self, other: PublicKey) -> None:
        """Take over what another copy of the key has beyond this one: a revocation in either counts."""
        for place, part in other.parts.items():
            mine = self.parts.setdefault(place, _Part(part.packet))
            for body, signature in part.signatures.items():
                mine.signatures.setdefault(body, signature)

    def to_bytes(self) -> bytes:
        """The packets, in gpgv's order."""
        out = bytearray()
        for _, part in sorted(self.parts.items(), key=lambda item: item[0][0]):
            out += part.packet.raw
            for signature in part.signatures.values():
                out += signature.raw
        return bytes(out)

    @property
    def subkeys(self) -> dict[Fingerprint, _Part]:
        """The subkeys by fingerprint; whether the owner bound them is gpgv's to say."""
        found = {key_fingerprint(body): part for (place, body), part in self.parts.items() if place == 2}
        return {fingerprint: part for fingerprint, part in found.items() if fingerprint is not None}

    @property
    def user_ids(self) -> list[str]:
        """Who the key says it is, fit for a terminal."""
        found = [p.packet.body.decode("utf-8", "replace") for p in self.parts.values() if p.packet.tag == USER_ID]
        return ["".join(c if c.isprintable() else "?" for c in text) for text in found]

    def has(self, issuer: str) -> bool:
        """Whether the key or a subkey of it has this fingerprint or key id."""
        every = (self.fingerprint, *self.subkeys)
        return issuer in every or (len(issuer) == 16 and issuer in map(key_id, every))

    def revokers(self) -> list[Fingerprint]:
        """The keys that its owner lets revoke it."""
        return [f for signature in self._own() for f in revokers_of(signature)]

    def flood(self) -> str | None:
        """Why it takes too long to be asked about: anybody can add to a copy what only claims to be its own."""
        signatures = sum(len(part.signatures) for part in self.parts.values())
        if signatures > OWN_SIGNATURES:
            return f"over the limit of {OWN_SIGNATURES} signatures on itself: it carries {signatures}"
        revokers = len(set(self.revokers()))
        return None if revokers <= REVOKERS else f"over the limit of {REVOKERS} revokers: it names {revokers}"

    def has_revocation(self) -> bool:
        """Whether something says that the key or a subkey is revoked; who said it is not asked."""
        both = (_KEY_REVOKED, _SUBKEY_REVOKED)
        return any(_class_of(s) in both for part in self.parts.values() for s in part.signatures.values())

    def revocations(self, part: Fingerprint) -> list[Packet]:
        """What says that the key, or this part of it, is revoked, wherever it stands; who said it is not asked."""
        wanted = (_KEY_REVOKED,) if part == self.fingerprint else (_KEY_REVOKED, _SUBKEY_REVOKED)
        return [s for p in self.parts.values() for s in p.signatures.values() if _class_of(s) in wanted]

    def parts_of(self, issuer: str) -> list[Fingerprint]:
        """The key or its subkeys of this fingerprint or key id, which is hardly ever more than one."""
        return [f for f in dict.fromkeys((self.fingerprint, *self.subkeys)) if issuer in (f, key_id(f))]

    def with_only(self, part: Fingerprint, revocations: Sequence[Packet]) -> bytes:
        """The packets of the key without its subkeys but ``part``, and without revocations but these, which are of it.

        No other subkey has a say about this one, and gpgv needs its time for each.
        """
        out = bytearray()
        for (place, body), kept in sorted(self.parts.items(), key=lambda item: item[0][0]):
            if place == 2 and key_fingerprint(body) != part:
                continue
            own = {0: _KEY_REVOKED, 2: _SUBKEY_REVOKED}.get(place)
            found = [s for s in kept.signatures.values() if _class_of(s) not in (_KEY_REVOKED, _SUBKEY_REVOKED)]
            for packet in (kept.packet, *[r for r in revocations if _class_of(r) == own], *found):
                out += packet.raw
        return bytes(out)

    def objection(self, issuer: str, now_s: int) -> str | None:
        """Why gpgv cannot use the key ``issuer`` of this one, as far as that can be told without it."""
        part = next((p for f, p in self.subkeys.items() if issuer in (f, key_id(f))), None)
        parts = [p for p in (self.parts.get((0, self._primary_body())), part) if p is not None]
        if max(int.from_bytes(p.packet.body[1:5], "big") for p in parts) > now_s:
            return "it was made in the future; is the clock right?"
        if not any(claim_of(s).digest in STRONG_DIGESTS for s in self._own()):
            return "what its owner signed of it is signed with SHA-1 or weaker; the owner has to renew the key"
        if part is not None and not any(
            claim.sig_class == _BINDING and claim.digest in STRONG_DIGESTS for claim in _claims(part)
        ):
            return f"its owner did not bind the subkey {issuer} to it, or did with SHA-1 or weaker"
        return None

    def _primary_body(self) -> bytes:
        return next(body for place, body in self.parts if place == 0)

    def _own(self) -> list[Packet]:
        """Self-signatures on the key and its user ids."""
        return [
            signature
            for (place, _), part in self.parts.items()
            if place < 2
            for signature in part.signatures.values()
            if (claim := _claim(signature)) is not None
            and (claim.sig_class in _CERTIFICATIONS or claim.sig_class == _DIRECT)
        ]


def _class_of(signature: Packet) -> int:
    at = 2 if signature.body[:1] in (b"\2", b"\3") else 1  # RFC 4880 §5.2.2 and §5.2.3
    return int.from_bytes(signature.body[at : at + 1], "big")


def _claim(packet: Packet) -> SignatureClaim | None:
    try:
        return claim_of(packet)
    except BadPackets:
        return None


def _claims(part: _Part) -> list[SignatureClaim]:
    return [claim for s in part.signatures.values() if (claim := _claim(s)) is not None]


class KeyReader:
    """Reads runs of packets; ``keys`` and, for people, ``complaints`` about what was left out."""

    def __init__(self) -> None:
        self.keys: dict[Fingerprint, PublicKey] = {}
        self.complaints: list[str] = []

    def read(self, data: bytes, *, strict: bool = False) -> None:
        """Add the keys of one run of packets. Raises `SecretKeyFound`, `BadPackets` where not even one key is whole.

        Behind a packet that is cut off nothing can be read: the key that it belongs to is left out, as with gpg, or,
        ``strict``, everything is refused.
        """
        done: list[PublicKey] = []
        trouble: BadPackets | None = None
        try:
            for key in self._keys(data):
                done.append(key)
        except SecretKeyFound:
            raise
        except BadPackets as error:
            trouble = error
        if trouble is not None and (strict or not done):
            raise trouble
        for key in done:
            self.keys.setdefault(key.fingerprint, PublicKey(key.fingerprint)).merge(key)
        if trouble is not None:
            self.complaints.append(f"behind the key {done[-1].fingerprint}: {trouble.reason}; the rest is left out")

    def _keys(self, data: bytes) -> Iterator[PublicKey]:
        """Each key as soon as it is whole."""
        key: PublicKey | None = None
        part: _Part | None = None
        for packet in read_packets(data):
            if packet.tag in (SECRET_KEY, SECRET_SUBKEY):
                raise SecretKeyFound("it holds a secret key")
            if packet.tag == PUBLIC_KEY:
                if key is not None:
                    yield key
                key, part = self._begin(packet), None
            if key is None:  # before the first key, or inside one that gpgv cannot use
                continue
            if packet.tag in _ORDER:
                part = self._part(key, packet)
            elif packet.tag == SIGNATURE and part is not None and self._counts(key, packet):
                part.signatures.setdefault(packet.body, packet)
        if key is not None:
            yield key

    def _begin(self, packet: Packet) -> PublicKey | None:
        fault = self._fault(packet)
        fingerprint = key_fingerprint(packet.body)
        if fault is not None or fingerprint is None:
            self.complaints.append(f"a key {fault} is left out: gpgv cannot use it")
            return None
        return PublicKey(fingerprint)

    def _fault(self, packet: Packet) -> str | None:
        """What gpgv would refuse more for than the packet."""
        if len(packet.body) > _MOST_BYTES[packet.tag]:
            return f"of {len(packet.body)} bytes"
        version = packet.body[0] if packet.body else 0
        if packet.tag in (PUBLIC_KEY, PUBLIC_SUBKEY):
            if key_fingerprint(packet.body) is None:
                return f"of version {version}"
            if not is_whole_key(packet.body):
                return "that is cut off"
        if packet.tag == SIGNATURE and version not in _VERSIONS:
            return f"of version {version}"
        if packet.tag == SIGNATURE and version in (4, 5) and not is_whole_signature(packet.body):
            return "that is cut off"
        return None

    def _part(self, key: PublicKey, packet: Packet) -> _Part | None:
        if not self._fits(key, packet):
            return None
        return key.parts.setdefault((_ORDER[packet.tag], packet.body), _Part(packet))

    def _fits(self, key: PublicKey, packet: Packet) -> bool:
        fault = self._fault(packet)
        if fault is not None:
            what = _NAMES[packet.tag]
            self.complaints.append(f"the key {key.fingerprint}: a {what} {fault} is left out: gpgv cannot read it")
        return fault is None

    def _counts(self, key: PublicKey, packet: Packet) -> bool:
        """Whether a signature can say anything about the key: others certify it in vain."""
        if not self._fits(key, packet):
            return False
        claim = _claim(packet)
        if claim is None or claim.sig_class not in _CERTIFICATIONS or not claim.issuer:
            return True
        return claim.issuer in (key.fingerprint, key_id(key.fingerprint))
