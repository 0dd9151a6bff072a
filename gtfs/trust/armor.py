# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of public keys as people have them: armor of every looks that gpg reads. Pure functions, any thread.

Signatures are read by `gtfs.trust.packets.dearmor` alone, which forgives nothing: there other readers must not read
something else. Of a key that is read wrongly no signature will ever be good.
"""

from __future__ import annotations

import base64
import re
from typing import Final, NamedTuple

from gtfs.trust.packets import KEY_BLOCK, BadPackets, crc24

_BEGIN: Final = b"-----BEGIN PGP " + KEY_BLOCK + b"-----"
_LOOKS_LIKE_BEGIN = re.compile(rb"- ?BEGIN PGP PUBLIC KEY", re.IGNORECASE)
_HEADER_LINE = re.compile(rb"[^:]+:(?: .*)?\Z")
_DATA = re.compile(rb"([A-Za-z0-9+/]*)={0,2}?(?:=([A-Za-z0-9+/]{4}).*)?\Z", re.DOTALL)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class KeyBlocks(NamedTuple):
    """The bytes of each block that could be read, and a word for each that could not."""

    blocks: list[bytes]
    skipped: list[str]


def read_key_blocks(text: bytes) -> KeyBlocks:
    """Every armored block of public keys in a text; what stands between them does not matter, as with gpg."""
    # A Windows end of line is white space behind the line; a lone CR is an end of line, too.
    lines = re.split(rb"\r?\n|\r", text.removeprefix(_BYTE_ORDER_MARK))
    found = KeyBlocks([], [])
    at = 0
    while at < len(lines):
        begin, line = at + 1, lines[at]
        at += 1
        if line.rstrip() != _BEGIN:
            if _LOOKS_LIKE_BEGIN.search(line):
                found.skipped.append(f"line {begin}: this is not the line that begins a key, {_BEGIN.decode()}")
            continue
        while at < len(lines) and _HEADER_LINE.match(lines[at]) and not lines[at].startswith(b"-----"):
            at += 1
        end = at
        while end < len(lines) and b"-" not in lines[end]:
            end += 1
        # The checksum and the line of the end may stand on one line.
        tail = lines[end].partition(b"-")[0] if end < len(lines) else b""
        try:
            found.blocks.append(_decode(b"".join(b"".join([*lines[at:end], tail]).split())))
        except BadPackets as error:
            found.skipped.append(f"the key of line {begin}: {error.reason}")
        at = end
    return found


def _decode(text: bytes) -> bytes:
    """The bytes behind base64 without white space, padded or not, with or without the armor's checksum."""
    match = _DATA.match(text)
    if match is None:
        raise BadPackets("the armor is no base64")
    digits, checksum = match[1], match[2]
    if not digits or len(digits) % 4 == 1:
        raise BadPackets("the armor is empty or cut off")
    data = base64.b64decode(digits + b"=" * (-len(digits) % 4))
    if checksum is not None and base64.b64decode(checksum) != crc24(data).to_bytes(3, "big"):
        raise BadPackets("the armor's checksum is wrong")
    return data
