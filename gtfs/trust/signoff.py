# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-offs: this node's signed statement that it verified a batch of commit packs (design.md §8.5).

The clear-signed text is one stanza: ``Format``, ``Date``, and ``Packs`` with one line for each pack: object id,
SHA-256 of the pack, its size in bytes, and why it was accepted (``local``, ``catalogue``, ``tag``, or ``signed:``
with the fingerprints). Any thread; no index, no policy.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, cast

from gtfs.durable import replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.ids import BadId, Fingerprint, ObjectId, PackDigest, parse_fingerprint, parse_object_id
from gtfs.trust.keyring import Keyring
from gtfs.trust.nodekey import NodeKey
from gtfs.trust.policy import Vouch, VouchKind
from gtfs.trust.sign import Signer
from gtfs.trust.stanza import BadStanza, one_line, read_stanza, read_time, write_stanza, write_time
from gtfs.trust.verify import Signature, read_clearsigned

FORMAT: Final = "gtfs-signoff-1"
_ROW = re.compile(
    r"([0-9a-f]{40}(?:[0-9a-f]{24})?) ([0-9a-f]{64}) ([1-9][0-9]{0,18})"
    r" (local|catalogue|tag|signed)(?::([0-9A-F]+(?:,[0-9A-F]+)*))?\Z"
)


class BadSignoff(GtfsError):
    """A sign-off that says nothing: not signed by anybody who counts, or not understood."""

    fault = Blame.TRUST

    def __init__(self, reason: str) -> None:
        super().__init__(f"sign-off refused: {reason}")
        self.reason = reason


class SignoffRow(NamedTuple):
    """One verified commit pack and why it was accepted."""

    oid: ObjectId
    digest: PackDigest
    size: int  # bytes
    vouch: Vouch


class Signoff(NamedTuple):
    """A sign-off that was read: who signed it, when it says it was made, and its packs."""

    signatures: tuple[Signature, ...]
    date_s: int
    rows: tuple[SignoffRow, ...]


def signoff_text(rows: Sequence[SignoffRow], date_s: int) -> str:
    """The statement that is signed."""
    lines = []
    for row in rows:
        by = ":" + ",".join(row.vouch.signers) if row.vouch.signers else ""
        lines.append(f"{row.oid.hex()} {row.digest.hex()} {row.size} {row.vouch.kind}{by}")
    return write_stanza([("Format", FORMAT), ("Date", write_time(date_s)), ("Packs", lines)])


def write_signoff(directory: Path, rows: Sequence[SignoffRow], signer: Signer | NodeKey, now_s: int) -> Path:
    """Sign one statement over ``rows`` and keep it durably as ``<UTC time>-<SHA-256 prefix>.asc``.

    Raises `SigningFailed`, OSError.
    """
    document = signer.clearsign(signoff_text(rows, now_s))
    stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    path = directory / f"{stamp}-{hashlib.sha256(document).hexdigest()[:16]}.asc"
    replace_file(path, document)
    return path


def read_signoff(document: bytes, keyring: Keyring, allowed: frozenset[Fingerprint] | None, *, now_s: int) -> Signoff:
    """The rows that somebody in ``allowed`` signed off; raises `BadSignoff`, `BadSignature`."""
    signed = read_clearsigned(document, keyring, allowed, now_s=now_s)
    if not signed.signatures:
        raise BadSignoff("; ".join(map(str, signed.rejected)))
    return Signoff(signed.signatures, *parse_signoff(signed.text))


def parse_signoff(text: bytes) -> tuple[int, tuple[SignoffRow, ...]]:
    """Date and rows of a statement whose signature is somebody else's matter; raises `BadSignoff`."""
    try:
        values = read_stanza(text)
        if one_line(values, "Format") != FORMAT:
            raise BadSignoff(f"unknown format {one_line(values, 'Format')[:40]!r}")
        date_s = read_time(one_line(values, "Date"))
        return date_s, tuple(_row(line) for line in values.get("packs", ()))
    except (BadStanza, BadId) as error:
        raise BadSignoff(str(error)) from None


def _row(line: str) -> SignoffRow:
    match = _ROW.match(line)
    if match is None:
        raise BadSignoff(f"{line[:60]!r} is no pack line")
    signers = tuple(parse_fingerprint(text) for text in match[5].split(",")) if match[5] else ()
    vouch = Vouch(cast(VouchKind, match[4]), signers)
    return SignoffRow(parse_object_id(match[1]), PackDigest(bytes.fromhex(match[2])), int(match[3]), vouch)
