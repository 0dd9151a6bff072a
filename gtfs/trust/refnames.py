# SPDX-License-Identifier: GPL-3.0-or-later
"""Ref names in signed text: git's rules for them, and the one way to write them. Pure functions, any thread.

A ref name is bytes. In a document every byte that is not printable ASCII, and ``%``, is written as ``%XX`` with
upper-case hex digits, and no other byte is: each name has one spelling.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from gtfs.errors import Blame, GtfsError

NAME_BYTES: Final = 1024
COMPONENT_BYTES: Final = 255  # what a file name may have, as git's loose refs are files

_PLAIN = re.compile(rb"[\x21-\x24\x26-\x7e]+\Z")
_SPELLED: Final = {byte: f"%{byte:02X}" for byte in range(256) if not _PLAIN.match(bytes([byte]))}
# Most names, which need no other look. Possessive: a long one that fails costs no more than one that does not.
USUAL_NAME: Final = rb"refs(?:/[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+(?<!\.lock))++"
_USUAL = re.compile(USUAL_NAME + rb"\Z")
_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{")  # git-check-ref-format(1), rules 3, 4, 5, 8 and 10


class BadRefName(GtfsError):
    """A ref name that git does not allow, that belongs to gtfs, or that is not spelled as it must be."""

    fault = Blame.TRUST

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"ref name {name[:120]!r}: {reason}")
        self.reason = reason


def encode_name(name: bytes) -> str:
    """The spelling of a name (or of a pattern of names) in a document."""
    if _PLAIN.match(name):
        return name.decode("ascii")
    return name.decode("latin-1").translate(_SPELLED)


def decode_name(text: str) -> bytes:
    """The bytes of a spelled name; raises `BadRefName` for any other spelling than `encode_name`'s."""
    if "%" not in text and _PLAIN.match(plain := text.encode("utf-8", "replace")):
        return plain
    name = unquote_to_bytes(text.encode("utf-8", "replace"))
    if encode_name(name) != text:
        raise BadRefName(text, "it is not spelled with %XX as gtfs-catalogue(5) says")
    return name


def check_ref_name(name: bytes) -> None:
    """Raise `BadRefName` unless this is a full name below refs/ that git and a file system can hold."""
    if len(name) <= COMPONENT_BYTES and _USUAL.match(name) and not name.startswith(b"refs/gtfs"):
        return
    shown = encode_name(name)
    if not name.startswith(b"refs/"):
        raise BadRefName(shown, "it does not begin with refs/")
    if name.startswith(b"refs/gtfs/") or name == b"refs/gtfs":
        raise BadRefName(shown, "refs/gtfs/ belongs to each node alone")
    if len(name) > NAME_BYTES:
        raise BadRefName(shown, f"over the limit ref name: more than {NAME_BYTES} bytes")
    if _FORBIDDEN.search(name) or name.endswith(b"."):
        raise BadRefName(shown, "git does not allow it")
    for component in name.split(b"/"):
        if not component or component.startswith(b".") or component.endswith(b".lock"):
            raise BadRefName(shown, "git does not allow it")
        if len(component) > COMPONENT_BYTES:
            raise BadRefName(shown, f"over the limit path component: more than {COMPONENT_BYTES} bytes")
