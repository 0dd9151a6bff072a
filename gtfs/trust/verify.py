# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures over given data and clear-signed documents, each one checked alone by `gtfs.trust.gpgv`.

It does not know what the data mean. May be called from any thread; each signature costs one run of gpgv (about 10 ms),
and each part of a key that expired, or that somebody calls revoked, one or a few of gpg while its `Keyring` lives.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from gtfs.ids import Fingerprint
from gtfs.trust.gpgv import (
    NOT_IN_RING,
    BadSignature,
    FoundSignature,
    GpgvFailed,
    MadeInFuture,
    Signature,
    UnknownKey,
    check,
)
from gtfs.trust.keyring import Keyring
from gtfs.trust.packets import (
    SIGNATURE_BLOCK,
    STRONG_DIGESTS,
    BadPackets,
    Packet,
    claim_of,
    dearmor,
    enarmor,
    only_signatures,
)
from gtfs.trust.validity import At, judge, needs_validity

__all__ = [
    "At",
    "BadSignature",
    "ClearSigned",
    "FoundSignature",
    "GpgvFailed",
    "MadeInFuture",
    "Rejected",
    "Signature",
    "UnknownKey",
    "combine_clearsigned",
    "find_detached",
    "judge_found",
    "read_clearsigned",
    "split_clearsigned",
    "unverified_signers",
    "verify_detached",
]

DOCUMENT_BYTES: Final = 16 << 20  # design.md §13
SIGNATURE_BYTES: Final = 16 << 10  # design.md §13
SIGNATURES: Final = 32  # in one document
ARMOR_BYTES: Final = 1 << 20  # around all of them
TRIES: Final = 3  # of signatures by one key; each bad one costs a run of gpgv over the whole text
LINE_BYTES: Final = 16 << 10  # gpg hashes only the first 19995 bytes of a line

_MARKUP: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<[!?a-zA-Z]")
_BEGIN_TEXT: Final = b"-----BEGIN PGP SIGNED MESSAGE-----"
_BEGIN_SIGNATURE: Final = b"-----BEGIN PGP SIGNATURE-----"
_DIGEST: Final = rb"(?:SHA(?:1|224|256|384|512|3-256|3-512)|RIPEMD160|MD5)"  # weak ones are refused by the signature
_HEAD = re.compile(re.escape(_BEGIN_TEXT) + rb"\n(?:Hash: %b(?:, ?%b){0,31}\n){0,32}\n" % (_DIGEST, _DIGEST))
_NO_CONTROL: Final = b"\t\n" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))


class Rejected(NamedTuple):
    """A signature that does not count."""

    issuer: str  # what it claims; "" if nothing
    error: BadSignature

    def __str__(self) -> str:
        return f"{self.issuer or 'unknown key'}: {self.error.reason}"


class ClearSigned(NamedTuple):
    """A clear-signed document after verification; only ``text`` was signed, by each of ``signatures``."""

    text: bytes  # lines, each ended by LF
    signatures: tuple[Signature, ...]  # good ones by allowed keys, one for each primary key
    rejected: tuple[Rejected, ...]  # the others


def verify_detached(
    data: bytes,
    signature: bytes,
    keyring: Keyring,
    allowed: frozenset[Fingerprint] | None,
    *,
    now_s: int,
    at: At = "now",
    sig_class: str = "00",
) -> Signature:
    """The one signature in ``signature`` (armored or binary) over ``data``; raises `BadSignature`.

    ``allowed`` are whole primary fingerprints; None means everybody whom the keyring does not keep by name only.
    ``at`` says when the key has to be good.
    """
    return judge_found(
        find_detached(data, signature, keyring, allowed, now_s=now_s, sig_class=sig_class), keyring, at, now_s
    )


def judge_found(found: FoundSignature, keyring: Keyring, at: At, now_s: int) -> Signature:
    """What was found, now or earlier with this very keyring, if its key counts today; raises `BadSignature`."""
    key = keyring.keys[found.primary]
    validity = keyring.validity(found.primary, found.part) if needs_validity(found, key) else None
    return judge(found, key, validity, at, now_s)


def find_detached(
    data: bytes,
    signature: bytes,
    keyring: Keyring,
    allowed: frozenset[Fingerprint] | None,
    *,
    now_s: int,
    sig_class: str = "00",
) -> FoundSignature:
    """The signature that `verify_detached` judges; it counts only if `judge_found` says so. Raises `BadSignature`."""
    if len(signature) > SIGNATURE_BYTES:
        raise BadSignature(f"over the limit signature: {len(signature)} bytes where {SIGNATURE_BYTES} are allowed")
    try:
        binary = dearmor(signature, SIGNATURE_BLOCK) if signature.startswith(b"-----") else signature
        packet = only_signatures(binary, 1, SIGNATURE_BYTES)[0]
    except BadPackets as error:
        raise BadSignature(error.reason) from None
    return _find(packet, data, keyring, allowed, now_s, sig_class)


def _find(
    packet: Packet,
    data: bytes,
    keyring: Keyring,
    allowed: frozenset[Fingerprint] | None,
    now_s: int,
    sig_class: str,
) -> FoundSignature:
    may = keyring.everybody if allowed is None else allowed & keyring.primaries
    claim = claim_of(packet)  # what would be refused anyway gets a clearer reason here, and gpgv need not be asked
    if f"{claim.sig_class:02x}" != sig_class:
        raise BadSignature(f"the signature is of class {claim.sig_class:02x}, not {sig_class}")
    if claim.digest not in STRONG_DIGESTS:
        raise BadSignature("the signature uses a weak digest", "weak-digest")
    holders = keyring.who_has(claim.issuer)
    if not holders:
        raise UnknownKey(NOT_IN_RING)
    refused = BadSignature(_has_no_right(holders[0], claim.issuer, allowed or frozenset()), "not-allowed")
    # One, or as many as have a copy of the subkey that signed: whose it is, is known once gpgv has found it good.
    for primary, part in [(p, f) for p in holders if p in may for f in keyring.keys[p].parts_of(claim.issuer)]:
        try:
            return check(
                packet.raw, data, keyring.alone(primary, part), frozenset({primary}), now_s=now_s, sig_class=sig_class
            )
        except BadSignature as error:
            refused = error
            if error.is_key_useless:
                why = keyring.keys[primary].objection(claim.issuer, now_s)
                if why is None and isinstance(error, UnknownKey):
                    why = "gpgv does not read the copy that the keyring has"
                refused = BadSignature(f"the key {primary} cannot be used: {why}", "unknown-key") if why else error
    raise refused


def _has_no_right(primary: Fingerprint, issuer: str, allowed: frozenset[Fingerprint]) -> str:
    if issuer in allowed:  # never silently: who typed it meant this key
        return f"{primary} may not sign this: what is allowed names {issuer}, a subkey of it, and has to name the key"
    return f"{primary} may not sign this"


def split_clearsigned(document: bytes) -> tuple[bytes, list[Packet]]:
    """The text (lines ended by LF) and the signature packets of a document that nobody has verified yet.

    Stricter than gpg: nothing outside the block, no white space at line ends, no control characters but tab.
    Raises `BadSignature`.
    """
    end, packets = _signatures(document)
    return _text(document, end), packets


def _signatures(document: bytes) -> tuple[int, list[Packet]]:
    """Where the text ends, and the packets after it; the text is not looked at. Raises `BadSignature`."""
    if len(document) > DOCUMENT_BYTES:
        raise BadSignature(f"over the limit document: {len(document)} bytes where {DOCUMENT_BYTES} are allowed")
    if not document.startswith(_BEGIN_TEXT + b"\n"):
        page = "; it looks like a web page: give the address of the document itself" if _MARKUP.match(document) else ""
        raise BadSignature(f"the document is not clear-signed{page}")
    end = document.rfind(b"\n" + _BEGIN_SIGNATURE + b"\n", max(0, len(document) - ARMOR_BYTES))
    if end < 0:
        raise BadSignature("the document has no signature, or it does not end with it")
    try:
        binary = dearmor(document[end + 1 :].removesuffix(b"\n"), SIGNATURE_BLOCK)
        return end, only_signatures(binary, SIGNATURES, SIGNATURE_BYTES)
    except BadPackets as error:
        raise BadSignature(error.reason) from None


def _text(document: bytes, end: int) -> bytes:
    """The text of a document whose signatures begin after ``end``; raises `BadSignature`.

    It may be rubbish of any form: everything here is done to the whole at once, never to a list of its lines.
    """
    if document.translate(None, _NO_CONTROL):
        raise BadSignature("there is a control character in the document")
    head = _HEAD.match(document)
    if head is None:
        raise BadSignature("the document has an unknown armor header")
    text = document[head.end() : end + 1]
    if b" \n" in text or b"\t\n" in text or _has_long_line(text):
        raise BadSignature("a line is too long or ends in white space")
    if text.startswith(b"-"):
        if not text.startswith(b"- "):
            raise BadSignature("a line that begins with a dash is not escaped")
        text = text[2:]
    if text.count(b"\n-") != text.count(b"\n- "):
        raise BadSignature("a line that begins with a dash is not escaped")
    return text.replace(b"\n- ", b"\n")


def _has_long_line(text: bytes) -> bool:
    at = 0
    while len(text) - at > LINE_BYTES:
        newline = text.rfind(b"\n", at, at + LINE_BYTES + 1)
        if newline < 0:
            return True
        at = newline + 1
    return False


def read_clearsigned(
    document: bytes,
    keyring: Keyring,
    allowed: frozenset[Fingerprint] | None,
    *,
    now_s: int,
) -> ClearSigned:
    """The signed text with the signatures by keys that are good now, perhaps none: the caller knows how many it wants.

    The text is not looked at before a signature claims to be by a key that may sign, and is empty if none counts.
    Raises `BadSignature` for what is no clear-signed document, `GpgvFailed`.
    """
    end, packets = _signatures(document)
    may = keyring.everybody if allowed is None else allowed
    good: dict[Fingerprint, Signature] = {}
    rejected = []
    worth: list[tuple[Packet, frozenset[Fingerprint]]] = []  # a run of gpgv
    for packet in packets:
        try:
            worth.append((packet, _claimed(packet, keyring, may)))
        except BadSignature as error:
            rejected.append(Rejected(claim_of(packet).issuer, error))
    if not worth:
        return ClearSigned(b"", (), tuple(rejected))
    text = _text(document, end)
    # RFC 4880 §7.1: the last line's end is not signed. gpgv turns LF into CRLF for class 01 itself.
    signed = text.removesuffix(b"\n")
    tries: Counter[frozenset[Fingerprint]] = Counter()
    for packet, primaries in worth:
        if primaries <= good.keys():
            continue
        try:
            tries[primaries] += 1
            if tries[primaries] > TRIES:
                raise BadSignature(f"{TRIES} others by this key are bad")
            signature = judge_found(_find(packet, signed, keyring, primaries, now_s, "01"), keyring, "now", now_s)
        except BadSignature as error:
            rejected.append(Rejected(claim_of(packet).issuer, error))
        else:
            good.setdefault(signature.primary, signature)
    return ClearSigned(text, tuple(good.values()), tuple(rejected))


def _claimed(packet: Packet, keyring: Keyring, may: frozenset[Fingerprint]) -> frozenset[Fingerprint]:
    """The primary key that made a signature, if what the packet says is true; raises `BadSignature`.

    There are several where keys have copied each other's subkey: gpgv decides.
    Whoever has no such key, and no copy of a signature by one, makes us do nothing but this.
    """
    issuer = claim_of(packet).issuer
    holders = keyring.who_has(issuer)
    if not holders:
        raise UnknownKey(NOT_IN_RING)
    allowed = frozenset(holders) & may
    if not allowed:
        raise BadSignature(_has_no_right(holders[0], issuer, may), "not-allowed")
    return allowed


def unverified_signers(document: bytes) -> tuple[str, ...]:
    """The fingerprints (or 16-digit key ids) that the signatures claim, to ask a user at a terminal about them."""
    return tuple(dict.fromkeys(claim_of(packet).issuer for packet in _signatures(document)[1]))


def combine_clearsigned(documents: Sequence[bytes]) -> bytes:
    """One document with the signatures of all, which must have signed the same text; raises `BadSignature`."""
    texts: set[bytes] = set()
    packets: dict[bytes, None] = {}
    hashes: dict[bytes, None] = {}  # plain gpg wants each digest named that some signature uses
    for document in documents:
        text, found = split_clearsigned(document)
        texts.add(text)
        packets.update({packet.raw: None for packet in found})
        hashes.update(dict.fromkeys(_head(document).splitlines()[1:-1]))
    if len(texts) != 1:
        raise BadSignature("the documents to combine differ in their text")
    first = documents[0]
    body = first[len(_head(first)) : _signatures(first)[0] + 1]
    return b"\n".join((_BEGIN_TEXT, *hashes, b"", body)) + enarmor(b"".join(packets), SIGNATURE_BLOCK)


def _head(document: bytes) -> bytes:
    """What stands before the text of a document that `split_clearsigned` takes."""
    head = _HEAD.match(document)
    assert head is not None
    return head[0]
