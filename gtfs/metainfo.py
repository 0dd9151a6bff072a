# SPDX-License-Identifier: GPL-3.0-or-later
"""The .torrent of a reel or commit pack: single file, BEP 3 (v1), a pure function of name and bytes.

The info dictionary holds length, name, piece length and pieces, nothing else: no creation date, no private flag, no
attributes, no path list, no v2 tree, so the same bytes have the same infohash on every machine. What may differ from
node to node (trackers, web seeds) stands outside of it. Not a client: swarm/ speaks to peers. Any thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.bencode import Bencodable, NotBencoded, decode, encode
from gtfs.errors import Blame, GtfsError
from gtfs.ids import InfoHash

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20
READ_BYTES: Final = _MIB
MAX_METAINFO_BYTES: Final = 4 * _MIB  # the pieces of a file of 52 GiB; a longer one is neither read nor fetched
_KEYS: Final = {b"length", b"name", b"piece length", b"pieces"}


class BadMetainfo(GtfsError):
    """A .torrent that is not bencoded canonically, or is not of the one v1 file that it should be of."""

    fault = Blame.DATA


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
    if size <= 128 * _MIB:
        return 64 * _KIB
    return 128 * _KIB if size <= 512 * _MIB else 256 * _KIB


def piece_count(size: int, length: int) -> int:
    """How many pieces of ``length`` bytes a file has."""
    return -(-size // length)


class PieceHasher:
    """The piece hashes of a file of known size, from its bytes in order, cut anyhow.

    ``length``: of a piece, where it is not the one that such a size has.
    """

    def __init__(self, size: int, length: int | None = None) -> None:
        self.size = size
        self.piece_length = length or piece_length(size)
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
        info = _info(name, self.size, self.piece_length, b"".join(self._pieces))
        return encode({b"info": info}), InfoHash(hashlib.sha1(encode(info)).digest())

    def _turn(self) -> None:
        self._pieces.append(self._piece.digest())
        self._piece = hashlib.sha1()
        self._room = self.piece_length


def _info(name: str, size: int, length: int, pieces: bytes) -> dict[bytes, Bencodable]:
    return {b"length": size, b"name": name.encode(), b"piece length": length, b"pieces": pieces}


def metainfo_bytes(name: str, size: int) -> int:
    """How long the .torrent of a file of this name and size is, whatever its contents."""
    length = piece_length(size)
    return len(encode({b"info": _info(name, size, length, bytes(20 * piece_count(size, length)))}))


def metainfo_of(name: str, size: int, chunks: Iterable[bytes], length: int | None = None) -> tuple[bytes, InfoHash]:
    """The .torrent and infohash of a file of this name whose bytes are ``chunks``.

    ``length`` is that of its pieces, None the one that such a size has.
    """
    hasher = PieceHasher(size, length)
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.metainfo(name)


def build_metainfo(path: Path, name: str | None = None) -> tuple[bytes, InfoHash]:
    """The .torrent and infohash of a file on disk, read once; ``name`` if it shall be called otherwise."""
    return metainfo_of(name or path.name, path.stat().st_size, _read(path))


def wrap_info(info: bytes) -> bytes:
    """The smallest .torrent around an info dictionary: the same bytes on every machine."""
    return with_trackers(info, (), ())


def with_trackers(info: bytes, trackers: Iterable[str], web_seeds: Iterable[str]) -> bytes:
    """A .torrent around an info dictionary, byte for byte, with trackers, a tier each, and web seeds (BEP 12, 19)."""
    outer: dict[bytes, Bencodable] = {}
    urls = [url.encode() for url in dict.fromkeys(trackers)]
    seeds = [url.encode() for url in dict.fromkeys(web_seeds)]
    if urls:
        outer = {b"announce": urls[0], b"announce-list": [[url] for url in urls]}
    before, after = encode(outer)[:-1], encode({b"url-list": seeds} if seeds else {})[1:]
    return before + encode(b"info") + info + after


def info_of(metainfo: bytes) -> bytes:
    """The bencoded info dictionary inside a .torrent; raises `BadMetainfo`."""
    info = _decode_dict(metainfo).get(b"info")
    if not isinstance(info, dict):
        raise BadMetainfo("the .torrent has no info dictionary")
    return encode(info)


def parse_metainfo(metainfo: bytes) -> Metainfo:
    """What a .torrent made here (or by a tool that writes no more into the info) says; raises `BadMetainfo`."""
    return parse_info(info_of(metainfo))


def parse_info(info: bytes) -> Metainfo:
    """What a bencoded info dictionary says; raises `BadMetainfo`."""
    fields = _decode_dict(info)
    if fields.keys() != _KEYS:
        odd = ", ".join(sorted(key.decode("latin-1") for key in fields.keys() ^ _KEYS))
        raise BadMetainfo(f"the .torrent is not of one v1 file with nothing but length, name and pieces ({odd[:80]!a})")
    size, name, length, pieces = fields[b"length"], fields[b"name"], fields[b"piece length"], fields[b"pieces"]
    if not isinstance(size, int) or not isinstance(length, int) or size < 0 or length <= 0:
        raise BadMetainfo("the .torrent's lengths are no positive numbers")
    if not isinstance(name, bytes) or not isinstance(pieces, bytes) or len(pieces) != 20 * piece_count(size, length):
        raise BadMetainfo("the .torrent's pieces do not cover its file")
    infohash = InfoHash(hashlib.sha1(info).digest())
    return Metainfo(name.decode("utf-8", "surrogateescape"), size, length, pieces, infohash)


def check_info(info: bytes, infohash: InfoHash, file_name: str, size: int, length: int) -> tuple[bytes, ...]:
    """The SHA-1 of each piece, from the info dictionary of the one file that a catalogue named.

    Raises `BadMetainfo` for any difference (design.md §11). Up to some ms: not for an event loop.
    """
    if hashlib.sha1(info).digest() != infohash:
        raise BadMetainfo(f"{file_name}: the metadata does not have the infohash {infohash.hex()}")
    try:
        said = parse_info(info)
    except BadMetainfo as error:
        raise BadMetainfo(f"{file_name}: {error}") from None
    for what, found, wanted in (
        ("name", said.name, file_name), ("length", said.size, size), ("piece length", said.piece_length, length)
    ):  # fmt: skip
        if found != wanted:
            raise BadMetainfo(f"{file_name}: the .torrent says {what} {found!a:.80}, not {wanted!r}")
    return tuple(said.pieces[i : i + 20] for i in range(0, len(said.pieces), 20))


def _decode_dict(data: bytes) -> dict[bytes, Bencodable]:
    if len(data) > MAX_METAINFO_BYTES:
        raise BadMetainfo(f"a .torrent of {len(data)} bytes is not read")
    try:
        value = decode(data)
    except NotBencoded as error:
        raise BadMetainfo(f"the .torrent is {error}") from None
    if not isinstance(value, dict):
        raise BadMetainfo("the .torrent is no bencoded dictionary")
    return value


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(READ_BYTES):
            yield chunk
