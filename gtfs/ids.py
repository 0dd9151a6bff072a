# SPDX-License-Identifier: GPL-3.0-or-later
"""The identifiers that the stations hand to each other, as NewTypes over raw bytes and text.

Ids are raw bytes inside the program; hexadecimal is for names of files, documents and messages. Any thread.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

from gtfs.errors import Blame, GtfsError

if TYPE_CHECKING:
    from hashlib import _Hash

ObjectId = NewType("ObjectId", bytes)  # raw: 20 bytes (SHA-1) or 32 (SHA-256)
PackDigest = NewType("PackDigest", bytes)  # raw SHA-256 of a whole commit pack
InfoHash = NewType("InfoHash", bytes)  # raw SHA-1 of a v1 info dictionary (BEP 3)
ReelName = NewType("ReelName", str)  # 64 lower-case hex digits; the file is NAME.reel
# Upper-case hex of a primary OpenPGP key, 40 digits (v4) or 64 (v5); or of an SSH key, as ssh-keygen writes it.
Fingerprint = NewType("Fingerprint", str)

PACK_SUFFIX = ".pack"
REEL_SUFFIX = ".reel"
METAINFO_SUFFIX = ".torrent"

_HEX_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_HEX_NAME = re.compile(r"[0-9a-f]{64}\Z")
_HEX_FINGERPRINT = re.compile(r"[0-9A-F]{40}(?:[0-9A-F]{24})?\Z")
_SSH_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")


class BadId(GtfsError):
    """Text that should be an identifier and is not."""

    fault = Blame.USAGE

    def __init__(self, text: str, wanted: str) -> None:
        super().__init__(f"{text!r} is not {wanted}")
        self.text = text


@dataclass(frozen=True)
class ObjectFormat:
    """A repository's hash (design.md §3.7): its git name, the bytes of an id and the constructor."""

    name: str
    oid_bytes: int
    new: Callable[[bytes], _Hash]

    def hash_object(self, kind: bytes, data: bytes) -> ObjectId:
        """The id of an object of ``kind`` (b"commit", b"tree", b"blob", b"tag") with these contents."""
        h = self.new(b"%s %d\0" % (kind, len(data)))
        h.update(data)
        return ObjectId(h.digest())


SHA1 = ObjectFormat("sha1", 20, hashlib.sha1)
SHA256 = ObjectFormat("sha256", 32, hashlib.sha256)
OBJECT_FORMATS = {f.name: f for f in (SHA1, SHA256)}


def parse_object_id(text: str | bytes) -> ObjectId:
    """The raw id behind 40 or 64 lower-case hex digits; raises `BadId`."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    if not _HEX_ID.match(text):
        raise BadId(text, "an object id (40 or 64 lower-case hex digits)")
    return ObjectId(bytes.fromhex(text))


def parse_reel_name(text: str) -> ReelName:
    """A reel's name without its suffix; raises `BadId`."""
    if not _HEX_NAME.match(text):
        raise BadId(text, "a reel name (64 lower-case hex digits)")
    return ReelName(text)


def parse_fingerprint(text: str) -> Fingerprint:
    """A whole primary fingerprint, spaces and case forgiven; raises `BadId`, also for short key ids."""
    squeezed = text.replace(" ", "").upper().removeprefix("0X")
    if not _HEX_FINGERPRINT.match(squeezed):
        raise BadId(text, "a full OpenPGP fingerprint (40 hex digits; short key ids can be forged)")
    return Fingerprint(squeezed)


def is_ssh_key(fingerprint: Fingerprint) -> bool:
    """Whether this is the fingerprint of an SSH key."""
    return fingerprint.startswith("SHA256:")


def parse_signer(text: str) -> Fingerprint:
    """Who may sign: a whole primary OpenPGP fingerprint, or an SSH key's as ssh-keygen -l writes it; raises `BadId`."""
    return Fingerprint(text) if _SSH_FINGERPRINT.match(text) else parse_fingerprint(text)


def pack_name(oid: ObjectId) -> str:
    """The name of the commit pack of ``oid``."""
    return oid.hex() + PACK_SUFFIX


def parse_pack_name(name: str | bytes) -> ObjectId | None:
    """The id in ``<oid>.pack``, or None for any other name."""
    text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
    stem = text.removesuffix(PACK_SUFFIX)
    return ObjectId(bytes.fromhex(stem)) if stem != text and _HEX_ID.match(stem) else None
