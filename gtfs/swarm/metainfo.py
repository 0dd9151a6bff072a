# SPDX-License-Identifier: GPL-3.0-or-later
"""The check that a torrent's info dictionary is that of the one reel that the catalogue named (design.md §11).

It does not make metainfo, `gtfs.reel` does. Blocking (up to some ms): called in threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import libtorrent as lt

from gtfs.errors import Blame, GtfsError
from gtfs.ids import InfoHash

# A reel's info dictionary has these four keys and no other: so no path list, no link, no v2 tree, no private flag.
KEYS = {b"length", b"name", b"piece length", b"pieces"}
LIMIT_BYTES = 4 << 20


class BadMetadata(GtfsError):
    """Metainfo that is not that of the reel which the catalogue named."""

    fault = Blame.DATA


def check_info(info: bytes, infohash: InfoHash, file_name: str, size: int, piece_length: int) -> tuple[bytes, ...]:
    """The SHA-1 of each piece, from a bencoded info dictionary; raises `BadMetadata` for any difference."""
    if hashlib.sha1(info).digest() != infohash:
        raise BadMetadata(f"{file_name}: the metadata does not have the infohash {infohash.hex()}")
    fields = _decode(info, file_name)
    if lt.bencode(fields) != info:
        raise BadMetadata(f"{file_name}: the metadata is not canonical bencoding")
    if set(fields) != KEYS:
        odd = ", ".join(sorted(key.decode("latin-1") for key in set(fields) ^ KEYS))
        raise BadMetadata(f"{file_name}: the torrent is no plain single-file v1 torrent of a reel ({odd[:80]})")
    for key, wanted in ((b"name", file_name.encode()), (b"length", size), (b"piece length", piece_length)):
        if fields[key] != wanted or type(fields[key]) is not type(wanted):
            said = repr(fields[key])[:80]
            raise BadMetadata(f"{file_name}: the torrent says {key.decode()} {said}, not {wanted!r}")
    pieces, count = fields[b"pieces"], piece_count(size, piece_length)
    if not isinstance(pieces, bytes) or len(pieces) != 20 * count:
        raise BadMetadata(f"{file_name}: the torrent does not have {count} piece hashes")
    return tuple(pieces[i : i + 20] for i in range(0, len(pieces), 20))


def info_of(metainfo: bytes, file_name: str) -> bytes:
    """The bencoded info dictionary inside a ``.torrent``; raises `BadMetadata`."""
    info = _decode(metainfo, file_name).get(b"info")
    if not isinstance(info, dict):
        raise BadMetadata(f"{file_name}: the metainfo has no info dictionary")
    encoded: bytes = lt.bencode(info)
    return encoded


def wrap_info(info: bytes) -> bytes:
    """The smallest ``.torrent`` around an info dictionary: the same bytes on every machine."""
    return b"d4:info" + info + b"e"


def dress(info: bytes, trackers: Iterable[str], web_seeds: Iterable[str]) -> bytes:
    """A ``.torrent`` for another client: an info dictionary, byte for byte, with where to look for peers."""
    announce = [_text(url) for url in dict.fromkeys(trackers)]
    seeds = [_text(url) for url in dict.fromkeys(web_seeds)]
    parts = [b"d"]
    if announce:
        tiers = b"".join(b"l" + url + b"e" for url in announce)
        parts += [_text("announce"), announce[0], _text("announce-list"), b"l" + tiers + b"e"]
    parts += [_text("info"), info]
    if seeds:
        parts += [_text("url-list"), b"l" + b"".join(seeds) + b"e"]
    return b"".join([*parts, b"e"])


def _text(text: str) -> bytes:
    data = text.encode()
    return b"%d:%s" % (len(data), data)


def piece_count(size: int, piece_length: int) -> int:
    """How many pieces a file has."""
    return -(-size // piece_length)


def _decode(data: bytes, file_name: str) -> dict[bytes, Any]:
    try:
        decoded: Any = lt.bdecode(data)
    except (RuntimeError, ValueError) as error:
        raise BadMetadata(f"{file_name}: the metainfo is not bencoded: {error}") from None
    if not isinstance(decoded, dict):
        raise BadMetadata(f"{file_name}: the metainfo is not a bencoded dictionary")
    return decoded
