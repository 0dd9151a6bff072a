# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed commits and annotated tags: which bytes are signed, and by what kind of signature.

Stricter than git, because an object id does not change its meaning under a good signature: exactly one signature,
where git puts it, and nothing behind it. It verifies nothing. Pure functions, any thread.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final, Literal, NamedTuple

from gtfs.errors import Blame, GtfsError
from gtfs.pack.format import CorruptPack
from gtfs.pack.objects import check_header

SIGNATURE_BYTES: Final = 16 << 10  # design.md §13

Format = Literal["openpgp", "ssh", "x509"]

_BEGIN: Final[dict[bytes, Format]] = {  # the first lines that git's gpg-interface.c knows
    b"-----BEGIN PGP SIGNATURE-----": "openpgp",
    b"-----BEGIN PGP MESSAGE-----": "openpgp",
    b"-----BEGIN SSH SIGNATURE-----": "ssh",
    b"-----BEGIN SIGNED MESSAGE-----": "x509",
}
_BEGIN_LINE = re.compile(rb"^-----BEGIN (?:PGP SIGNATURE|PGP MESSAGE|SSH SIGNATURE|SIGNED MESSAGE)-----$", re.M)
_END_LINE = re.compile(rb"-----END [A-Z0-9 ]+-----\n*\Z")


class BadSignedObject(GtfsError):
    """A commit or tag whose signature stands where, or as often as, it must not."""

    fault = Blame.TRUST

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SignedObject(NamedTuple):
    """The bytes that are signed, the signature (None: not signed), and its kind."""

    payload: bytes
    signature: bytes | None
    kind: Format


def split_signed_object(raw: bytes) -> SignedObject:
    """Divide the contents of a commit or tag object; raises `BadSignedObject`."""
    _check_header(raw)
    if raw.startswith(b"tree "):
        return _split_commit(raw)
    if raw.startswith(b"object "):
        return _split_tag(raw)
    raise BadSignedObject("this is neither a commit nor a tag")


def tag_name(raw: bytes) -> bytes:
    """The name that a tag object gives itself; raises `BadSignedObject` unless there is exactly one."""
    _check_header(raw)
    header = raw.partition(b"\n\n")[0]
    names = [line[4:] for line in header.split(b"\n") if line.startswith(b"tag ")]
    if len(names) != 1 or not names[0]:
        raise BadSignedObject("the tag object does not name itself exactly once")
    return names[0]


def _check_header(raw: bytes) -> None:
    try:
        check_header(raw)
    except CorruptPack as why:
        raise BadSignedObject(why.reason) from None


def _split_commit(raw: bytes) -> SignedObject:
    header, _, _ = raw.partition(b"\n\n")
    # The id's length tells which of git's two headers signs this form of the commit.
    wanted = b"gpgsig" if raw.find(b"\n") == 45 else b"gpgsig-sha256"
    payload: list[bytes] = []
    signature: list[bytes] | None = None
    inside = False
    for line in header.split(b"\n"):
        if inside and line.startswith(b" ") and signature is not None:
            signature.append(line[1:])
            continue
        inside = False
        if line.startswith(b"gpgsig"):
            name, _, value = line.partition(b" ")
            if name != wanted or signature is not None:
                raise BadSignedObject(f"the commit has a stray signature header {name[:40]!r}")
            signature, inside = [value], True
        else:
            payload.append(line)
    rest = raw[len(header) :]
    if signature is None:
        return SignedObject(raw, None, "openpgp")
    return _finish(b"\n".join(payload) + rest, b"\n".join(signature) + b"\n")


def _split_tag(raw: bytes) -> SignedObject:
    header, _, _ = raw.partition(b"\n\n")
    if any(line.startswith(b"gpgsig") for line in header.split(b"\n")):
        raise BadSignedObject("the tag has a signature header")
    begins = [match.start() for match in islice(_BEGIN_LINE.finditer(raw), 2)]
    if not begins:
        return SignedObject(raw, None, "openpgp")
    if len(begins) > 1:
        raise BadSignedObject("the tag has more than one signature")
    if begins[0] < len(header):
        raise BadSignedObject("the tag has a signature in its header")
    return _finish(raw[: begins[0]], raw[begins[0] :])


def _finish(payload: bytes, signature: bytes) -> SignedObject:
    """The parts, once the signature is known to be one block with nothing behind it."""
    if len(signature) > SIGNATURE_BYTES:
        raise BadSignedObject(f"over the limit signature: {len(signature)} bytes where {SIGNATURE_BYTES} are allowed")
    kind = _BEGIN.get(signature.partition(b"\n")[0])
    if kind is None:
        raise BadSignedObject("the signature is of an unknown kind")
    end = _END_LINE.search(signature)
    if end is None or signature.count(b"-----END ") != 1:  # empty lines may follow: GitHub writes one
        raise BadSignedObject("the signature does not end where it should")
    return SignedObject(payload, signature.rstrip(b"\n") + b"\n", kind)
