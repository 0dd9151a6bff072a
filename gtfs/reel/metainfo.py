# SPDX-License-Identifier: GPL-3.0-or-later
"""The .torrent of a reel or commit pack: single file, BEP 3 (v1), a pure function of name and bytes.

The info dictionary holds length, name, piece length and pieces, nothing else: no creation date, no private flag, no
attributes, so the same bytes have the same infohash on every machine. What may differ from node to node (trackers, web
seeds) stands outside of it. Not a client: swarm/ speaks to peers. Any thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.ids import InfoHash
from gtfs.pack.limits import KIB, MIB
from gtfs.reel.table import CorruptReel

READ_BYTES: Final = MIB
MAX_METAINFO_BYTES: Final = 64 * MIB  # pieces of a 860 GiB file; above it a .torrent is not read
MAX_NESTING: Final = 8

Bencodable = int | bytes | Sequence["Bencodable"] | Mapping[bytes, "Bencodable"]


class BadMetainfo(CorruptReel):
    """A .torrent that is not bencoded canonically, or is not of one v1 file."""


class Metainfo(NamedTuple):
    """What a single-file v1 .torrent says; ``pieces`` is the SHA-1 of each piece, joined."""

    name: str
    size: int
    piece_length: int
    pieces: bytes
    infohash: InfoHash


def piece_length(size: int) -> int:
    """The piece length of a file of ``size`` bytes, in bytes.

    64 KiB up to 128 MiB, 128 KiB up to 512 MiB, 256 KiB above. Small pieces make a lazy read short: at 50 ms and
    20 Mbit/s a cold random read took 194 ms with 64 KiB pieces, 246 with 256, 573 with 1 MiB. And mirrors that fetch
    at the same time send each other what they have sooner: contrib/bench/swarm.
    """
    if size <= 128 * MIB:
        return 64 * KIB
    return 128 * KIB if size <= 512 * MIB else 256 * KIB


class PieceHasher:
    """The piece hashes of a file of known size, from its bytes in order, cut anyhow."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.piece_length = piece_length(size)
        self._pieces: list[bytes] = []
        self._piece = hashlib.sha1()
        self._room = self.piece_length
        self._seen = 0

    def update(self, chunk: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(chunk)
        self._seen += len(view)
        while view:
            part = view[: self._room]
            self._piece.update(part)
            self._room -= len(part)
            view = view[len(part) :]
            if not self._room:
                self._turn()

    def metainfo(self, name: str) -> tuple[bytes, InfoHash]:
        """The .torrent (without trackers) and its infohash, once all bytes were seen."""
        if self._seen != self.size:
            raise ValueError(f"{self._seen} bytes hashed of {self.size}")
        if self._room != self.piece_length:
            self._turn()
        info = _info(name, self.size, b"".join(self._pieces))
        return bencode({b"info": info}), InfoHash(hashlib.sha1(bencode(info)).digest())

    def _turn(self) -> None:
        self._pieces.append(self._piece.digest())
        self._piece = hashlib.sha1()
        self._room = self.piece_length


def _info(name: str, size: int, pieces: bytes) -> dict[bytes, Bencodable]:
    return {b"length": size, b"name": name.encode(), b"piece length": piece_length(size), b"pieces": pieces}


def metainfo_bytes(name: str, size: int) -> int:
    """How long the .torrent of a file of this name and size is, whatever its contents."""
    pieces = -(-size // piece_length(size))
    return len(bencode({b"info": _info(name, size, bytes(20 * pieces))}))


def metainfo_of(name: str, size: int, chunks: Iterable[bytes]) -> tuple[bytes, InfoHash]:
    """The .torrent and infohash of a file of this name whose bytes are ``chunks``."""
    hasher = PieceHasher(size)
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.metainfo(name)


def build_metainfo(path: Path, name: str | None = None) -> tuple[bytes, InfoHash]:
    """The .torrent and infohash of a file on disk, read once; ``name`` if it shall be called otherwise."""
    return metainfo_of(name or path.name, path.stat().st_size, _read(path))


def parse_metainfo(metainfo: bytes) -> Metainfo:
    """What a .torrent made here (or by a tool that writes no more into the info) says; raises `BadMetainfo`."""
    info = _decode_dict(metainfo).get(b"info")
    if not isinstance(info, dict) or info.keys() != {b"length", b"name", b"piece length", b"pieces"}:
        raise BadMetainfo("the .torrent is not of a single v1 file with nothing but length, name and pieces")
    size, name, length, pieces = info[b"length"], info[b"name"], info[b"piece length"], info[b"pieces"]
    if not isinstance(size, int) or not isinstance(length, int) or size < 0 or length <= 0:
        raise BadMetainfo("the .torrent's lengths are no positive numbers")
    if not isinstance(name, bytes) or not isinstance(pieces, bytes) or len(pieces) != -(-size // length) * 20:
        raise BadMetainfo("the .torrent's pieces do not cover its file")
    return Metainfo(
        name.decode("utf-8", "surrogateescape"), size, length, pieces, InfoHash(hashlib.sha1(bencode(info)).digest())
    )


def bencode(value: Bencodable) -> bytes:
    """BEP 3's encoding: canonical, keys sorted as raw bytes."""
    out: list[bytes] = []
    _encode_into(out, value)
    return b"".join(out)


def _encode_into(out: list[bytes], value: Bencodable) -> None:
    if isinstance(value, int):
        out.append(b"i%de" % value)
    elif isinstance(value, bytes):
        out.append(b"%d:" % len(value))
        out.append(value)
    elif isinstance(value, Mapping):
        out.append(b"d")
        for key in sorted(value):
            _encode_into(out, key)
            _encode_into(out, value[key])
        out.append(b"e")
    else:
        out.append(b"l")
        for item in value:
            _encode_into(out, item)
        out.append(b"e")


def _decode_dict(data: bytes) -> dict[bytes, Bencodable]:
    if len(data) > MAX_METAINFO_BYTES:
        raise BadMetainfo(f"a .torrent of {len(data)} bytes is not read")
    try:
        value, end = _decode(data, 0, MAX_NESTING)
    except (ValueError, IndexError) as error:
        raise BadMetainfo("the .torrent is not bencoded") from error
    # Encoding again is the whole strictness: sorted keys, no repeats, no leading zeros, no trailing bytes.
    if not isinstance(value, dict) or end != len(data) or bencode(value) != data:
        raise BadMetainfo("the .torrent is not bencoded canonically")
    return value


def _decode(data: bytes, at: int, depth: int) -> tuple[Bencodable, int]:
    if not depth:
        raise ValueError("nested too deep")
    mark = data[at : at + 1]
    if mark == b"i":
        end = data.index(b"e", at, at + 24)
        return int(data[at + 1 : end]), end + 1
    if mark in (b"l", b"d"):
        items: list[Bencodable] = []
        at += 1
        while data[at] != ord("e"):
            item, at = _decode(data, at, depth - 1)
            items.append(item)
        if mark == b"l":
            return items, at + 1
        pairs: dict[bytes, Bencodable] = {}
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, bytes):
                raise ValueError("a key that is no string")
            pairs[key] = value
        return pairs, at + 1
    colon = data.index(b":", at, at + 12)
    end = colon + 1 + int(data[at:colon])
    if not colon < end <= len(data):
        raise ValueError("a string beyond the end")
    return data[colon + 1 : end], end


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(READ_BYTES):
            yield chunk
