# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures over given data and clear-signed documents, each one checked alone by `gtfs.trust.gpgv`.

It does not know what the data mean. May be called from any thread; each signature costs one run of gpgv (about 10 ms).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from gtfs.ids import Fingerprint
from gtfs.trust.gpgv import BadSignature, ExpiredKey, GpgvFailed, Signature, check
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

__all__ = [
    "BadSignature",
    "ClearSigned",
    "ExpiredKey",
    "GpgvFailed",
    "Signature",
    "combine_clearsigned",
    "read_clearsigned",
    "split_clearsigned",
    "unverified_signers",
    "verify_detached",
]

DOCUMENT_BYTES: Final = 16 << 20  # design.md §13
SIGNATURE_BYTES: Final = 16 << 10  # design.md §13
SIGNATURES: Final = 32  # in one document
LINE_BYTES: Final = 16 << 10  # gpg hashes only the first 19995 bytes of a line

_BEGIN_TEXT: Final = b"-----BEGIN PGP SIGNED MESSAGE-----"
_BEGIN_SIGNATURE: Final = b"-----BEGIN PGP SIGNATURE-----"
_HASH_HEADER = re.compile(rb"Hash: [A-Z0-9, -]+\Z")
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


class ClearSigned(NamedTuple):
    """A clear-signed document after verification; only ``text`` was signed, by each of ``signatures``."""

    text: bytes  # lines, each ended by LF
    signatures: tuple[Signature, ...]  # good ones by allowed keys, one for each primary key
    rejected: tuple[str, ...]  # why the others do not count


def verify_detached(
    data: bytes,
    signature: bytes,
    keyring: Keyring,
    allowed: frozenset[Fingerprint] | None,
    *,
    now_s: int,
    sig_class: str = "00",
) -> Signature:
    """The one signature in ``signature`` (armored or binary) over ``data``; raises `BadSignature`.

    ``allowed`` are whole primary fingerprints, None means any primary key of the keyring.
    """
    if len(signature) > SIGNATURE_BYTES:
        raise BadSignature(f"over the limit signature: {len(signature)} bytes where {SIGNATURE_BYTES} are allowed")
    try:
        binary = dearmor(signature, SIGNATURE_BLOCK) if signature.startswith(b"-----") else signature
        packet = only_signatures(binary, 1, SIGNATURE_BYTES)[0]
    except BadPackets as error:
        raise BadSignature(error.reason) from None
    return _check(packet, data, keyring, allowed, now_s, sig_class)


def _check(
    packet: Packet,
    data: bytes,
    keyring: Keyring,
    allowed: frozenset[Fingerprint] | None,
    now_s: int,
    sig_class: str,
) -> Signature:
    may = keyring.primaries if allowed is None else allowed & keyring.primaries
    claim = claim_of(packet)  # what would be refused anyway gets a clearer reason here, and gpgv need not be asked
    if f"{claim.sig_class:02x}" != sig_class:
        raise BadSignature(f"the signature is of class {claim.sig_class:02x}, not {sig_class}")
    if claim.digest not in STRONG_DIGESTS:
        raise BadSignature("the signature uses a weak digest")
    return check(packet.raw, data, keyring.path, may, now_s=now_s, sig_class=sig_class)


def split_clearsigned(document: bytes) -> tuple[bytes, list[Packet]]:
    """The text (lines ended by LF) and the signature packets of a document that nobody has verified yet.

    Stricter than gpg: nothing outside the block, no white space at line ends, no control characters but tab.
    Raises `BadSignature`.
    """
    if len(document) > DOCUMENT_BYTES:
        raise BadSignature(f"over the limit document: {len(document)} bytes where {DOCUMENT_BYTES} are allowed")
    if not document.startswith(_BEGIN_TEXT + b"\n"):
        raise BadSignature("the document is not clear-signed")
    if _CONTROL.search(document):
        raise BadSignature("there is a control character in the document")
    header, begin, armor = document.partition(b"\n" + _BEGIN_SIGNATURE + b"\n")
    if not begin:
        raise BadSignature("the document has no signature")
    lines = header.split(b"\n")
    at = 1
    while at < len(lines) and _HASH_HEADER.match(lines[at]):
        at += 1
    if at >= len(lines) or lines[at]:
        raise BadSignature("the document has an unknown armor header")
    text = lines[at + 1 :]
    for number, line in enumerate(text):
        if line.startswith(b"-"):
            if not line.startswith(b"- "):
                raise BadSignature("a line that begins with a dash is not escaped")
            text[number] = line[2:]
        if len(line) > LINE_BYTES or line[-1:] in (b" ", b"\t"):
            raise BadSignature("a line is too long or ends in white space")
    try:
        binary = dearmor((begin + armor)[1:].removesuffix(b"\n"), SIGNATURE_BLOCK)
        packets = only_signatures(binary, SIGNATURES, SIGNATURE_BYTES)
    except BadPackets as error:
        raise BadSignature(error.reason) from None
    return b"".join(line + b"\n" for line in text), packets


def read_clearsigned(
    document: bytes,
    keyring: Keyring,
    allowed: frozenset[Fingerprint] | None,
    *,
    now_s: int,
) -> ClearSigned:
    """The signed text with the signatures that count, perhaps none: the caller knows how many it wants.

    Raises `BadSignature` for what is no clear-signed document, `GpgvFailed`.
    """
    text, packets = split_clearsigned(document)
    # RFC 4880 §7.1: the last line's end is not signed. gpgv turns LF into CRLF for class 01 itself.
    signed = text.removesuffix(b"\n")
    good: dict[Fingerprint, Signature] = {}
    rejected = []
    for packet in packets:
        try:
            signature = _check(packet, signed, keyring, allowed, now_s, "01")
        except BadSignature as error:
            rejected.append(f"{claim_of(packet).issuer or 'unknown key'}: {error.reason}")
        else:
            good.setdefault(signature.primary, signature)
    return ClearSigned(text, tuple(good.values()), tuple(rejected))


def unverified_signers(document: bytes) -> tuple[str, ...]:
    """The fingerprints (or 16-digit key ids) that the signatures claim, to ask a user at a terminal about them."""
    return tuple(dict.fromkeys(claim_of(packet).issuer for packet in split_clearsigned(document)[1]))


def combine_clearsigned(documents: Sequence[bytes]) -> bytes:
    """One document with the signatures of all, which must have signed the same text; raises `BadSignature`."""
    texts: set[bytes] = set()
    packets: dict[bytes, None] = {}
    for document in documents:
        text, found = split_clearsigned(document)
        texts.add(text)
        packets.update({packet.raw: None for packet in found})
    if len(texts) != 1:
        raise BadSignature("the documents to combine differ in their text")
    head = documents[0].partition(b"\n" + _BEGIN_SIGNATURE + b"\n")[0]
    return head + b"\n" + enarmor(b"".join(packets), SIGNATURE_BLOCK)
