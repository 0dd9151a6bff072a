# SPDX-License-Identifier: GPL-3.0-or-later
"""The refs behind a signed text that names chunks: each checked against its name and size before it is parsed (§5).

Nothing is fetched here: what is not here is said, and whoever can fetch it comes again. Any thread.
"""

from __future__ import annotations

import hashlib
import re
from binascii import unhexlify
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NoReturn

from gtfs.catalogue.reftree import CHUNK_BYTES, CHUNKS, LEVELS, TOTAL_BYTES, Chunk, ChunkSource, Leaf, RefTree, Top
from gtfs.errors import Blame, GtfsError
from gtfs.ids import BadId, InfoHash, ObjectFormat, ObjectId, parse_object_id
from gtfs.trust.refnames import COMPONENT_BYTES, USUAL_NAME, BadRefName, check_ref_name, decode_name, encode_name

_CHUNK = re.compile(r"([0-9a-f]{64}) ([1-9][0-9]{0,5})\Z")
# Leaves of usual names alone, most of them, are read at once: with no other outcome.
_USUAL_LEAF: Final = {n: re.compile(rb"(?:[0-9a-f]{%d} (?!refs/gtfs)%s\n)++" % (2 * n, USUAL_NAME)) for n in (20, 32)}
_TOP: Final = re.compile(r"([0-9]) (0|[1-9][0-9]{0,7}) (0|[1-9][0-9]{0,5}) (0|[1-9][0-9]{0,8})\Z")


class BadCatalogue(GtfsError):
    """A text, or chunks that it names, that are no catalogue; ``field`` is where, "" for the text as a whole."""

    fault = Blame.TRUST

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(f"catalogue refused: {field + ': ' if field else ''}{reason}")
        self.reason = reason
        self.field = field


class ChunksMissing(GtfsError):
    """A catalogue that does not count yet: of its chunks these are not here, and others perhaps below them."""

    fault = Blame.NETWORK

    def __init__(self, chunks: Sequence[Chunk], top: Top) -> None:
        super().__init__(
            f"the catalogue's refs are in {top.chunks} chunks, of which {len(chunks)} or more are not here, "
            f"{chunks[0].digest} first"
        )
        self.chunks = tuple(chunks)
        self.top = top


def read_top(said: str, lines: Sequence[str], infohash: InfoHash | None) -> Top:
    """What a signed text says of its refs, held to the limits; raises `BadCatalogue`."""
    match = _TOP.match(said)
    if match is None:
        _bad(f"{said[:60]!r} is not LEVELS REFS CHUNKS BYTES")
    levels, refs, chunks, size = (int(number) for number in match.groups())
    if levels > LEVELS or chunks > CHUNKS or size > TOTAL_BYTES:
        allowed = f"{LEVELS} levels, {CHUNKS} chunks and {TOTAL_BYTES} bytes are allowed"
        _bad(f"over the limit chunks: {levels} levels, {chunks} chunks of {size} bytes, where {allowed}")
    return Top(levels, refs, chunks, size, _chunks(lines), infohash)


def read_tree(top: Top, source: ChunkSource, object_format: ObjectFormat, known: RefTree | None = None) -> RefTree:
    """All that a signed text's chunks say, or nothing: raises `BadCatalogue`, `ChunksMissing`.

    Leaves that ``known``, which was read so too, has already are not read again.
    """
    if known is not None and known.to_top(with_torrent=False) == replace(top, infohash=None):
        return known  # its digests say that it is the same
    walk = _Taker(top, source, known)
    above: list[tuple[Chunk, ...]] = []
    level = top.top
    for _ in range(top.levels):
        above.append(level)
        level = tuple(chunk for data in walk.take(level) for chunk in _below(data))
    old = {} if known is None else known.leaf_of
    found = walk.take(level)
    leaves = []
    before = b""
    for chunk, data in zip(level, found, strict=True):
        leaf = old.get(chunk.digest) or Leaf(chunk, *_refs(data, object_format))
        if next(iter(leaf.refs)) <= before:
            _bad(f"{encode_name(next(iter(leaf.refs)))[:80]!r} is repeated or not in order")
        before = leaf.last
        leaves.append(leaf)
    tree = RefTree(tuple(above), tuple(leaves), walk.data)
    if (len(walk.data), walk.size, len(tree.refs)) != (top.chunks, top.size, top.refs):
        _bad("there are not as many refs, chunks or bytes as it says")
    check_apart(tree.refs, None if known is None else known.refs)
    return tree


def read_refs(lines: Sequence[str], object_format: ObjectFormat) -> dict[bytes, ObjectId]:
    """Refs that stand in a text itself; raises `BadCatalogue`."""
    refs = dict(_read_lines(lines, object_format))
    check_apart(refs)
    return refs


def check_apart(refs: Mapping[bytes, ObjectId], checked: Mapping[bytes, ObjectId] | None = None) -> None:
    """git keeps refs as files: none can be another's directory. ``checked``: refs of which that is known.

    Raises `BadCatalogue`.
    """
    if checked is None:
        above: set[bytes] = set()
        todo = {name.rpartition(b"/")[0] for name in refs}
        while todo:
            above |= todo
            todo = {name.rpartition(b"/")[0] for name in todo} - above
        for other in sorted(above & refs.keys()):
            _exclude(min(name for name in refs if name.startswith(other + b"/")), other)
        return
    new = refs.keys() - checked.keys()
    names = list(refs) if new else []
    for name in new:
        for directory in _directories(name):
            if directory in refs:
                _exclude(name, directory)
        at = bisect_left(names, name + b"/")
        if at < len(names) and names[at].startswith(name + b"/"):
            _exclude(names[at], name)


def missing_chunks(top: Top, source: ChunkSource) -> list[Chunk]:
    """Those that are not here, as far down as can be seen; raises `BadCatalogue`."""
    walk = _Taker(top, source)
    level = top.top
    try:
        for _ in range(top.levels):
            level = tuple(chunk for data in walk.take(level) for chunk in _below(data))
        walk.take(level)
    except ChunksMissing as error:
        return list(error.chunks)
    return []


def places_of(top: Top, source: ChunkSource) -> dict[Chunk, int]:
    """Where chunks begin in the one file of all, as far as that can be known from those that are here."""
    places: dict[Chunk, int] = {}
    level: Sequence[Chunk] = top.top
    offset = 0
    for is_leaf in [False] * top.levels + [True]:
        for chunk in level:
            places[chunk] = offset
            offset += chunk.size
        data = [] if is_leaf else [source(chunk) for chunk in level]
        if None in data:
            break
        level = [chunk for each in data if each is not None for chunk in _below(each)]
    return places


def named_below(data: bytes) -> tuple[Chunk, ...]:
    """The chunks that a chunk above the leaves names; raises `BadCatalogue`."""
    return _below(data)


class _Taker:
    """Takes the chunks of one tree, each once, and no more of them than the text says."""

    def __init__(self, top: Top, source: ChunkSource, known: RefTree | None = None) -> None:
        self._top = top
        self._source = source
        self._known: Mapping[str, bytes] = {} if known is None else known.data
        self.data: dict[str, bytes] = {}
        self.size = 0

    def take(self, level: Sequence[Chunk]) -> list[bytes]:
        """What is in these, checked; raises `BadCatalogue`, `ChunksMissing`."""
        self.size += sum(chunk.size for chunk in level)
        seen = len(self.data) + len(level)
        if seen > self._top.chunks or self.size > self._top.size:
            _bad(f"it names more than the {self._top.chunks} chunks of {self._top.size} bytes that it says")
        missing = []
        found = []
        for chunk in level:
            data = self._known.get(chunk.digest)  # checked then
            if data is None or len(data) != chunk.size:
                data = self._source(chunk)
                if data is None:
                    missing.append(chunk)
                    continue
                check_chunk(chunk, data)
            self.data[chunk.digest] = data
            found.append(data)
        if missing:
            raise ChunksMissing(missing, self._top)
        if len(self.data) != seen:
            _bad("a chunk is named twice")
        return found


def check_chunk(chunk: Chunk, data: bytes) -> None:
    """Raise `BadCatalogue` unless these bytes are the chunk."""
    if len(data) != chunk.size:
        _bad(f"chunk {chunk.digest} has {len(data)} bytes, and its catalogue says {chunk.size}")
    if hashlib.sha256(data).hexdigest() != chunk.digest:
        _bad(f"chunk {chunk.digest} has other bytes than its name says")


def _bad(reason: str) -> NoReturn:
    raise BadCatalogue(reason, "Refs")


def _exclude(name: bytes, other: bytes) -> NoReturn:
    _bad(f"{encode_name(name)[:80]!r} and {encode_name(other)[:80]!r} exclude each other")


def _directories(name: bytes) -> Iterator[bytes]:
    at = name.rfind(b"/")
    while at > 0:
        yield name[:at]
        at = name.rfind(b"/", 0, at)


def _lines(data: bytes) -> list[str]:
    if not data.endswith(b"\n") or not data.isascii():
        _bad("a chunk is not lines of ASCII")
    return data[:-1].decode("ascii").split("\n")


def _below(data: bytes) -> tuple[Chunk, ...]:
    return _chunks(_lines(data))


def _chunks(lines: Sequence[str]) -> tuple[Chunk, ...]:
    chunks = []
    for line in lines:
        match = _CHUNK.match(line)
        if match is None:
            _bad(f"{line[:80]!r} is not SHA256 SIZE")
        chunks.append(Chunk(match[1], int(match[2])))
        if chunks[-1].size > CHUNK_BYTES:
            _bad(f"over the limit chunk: {chunks[-1].size} bytes where {CHUNK_BYTES} are allowed")
    return tuple(chunks)


def _refs(data: bytes, object_format: ObjectFormat) -> tuple[dict[bytes, ObjectId], bytes]:
    """A leaf's refs and the last one's name."""
    if _USUAL_LEAF[object_format.oid_bytes].fullmatch(data):
        digits = 2 * object_format.oid_bytes
        lines = data.splitlines()
        names, hexed = [line[digits + 1 :] for line in lines], [line[:digits] for line in lines]
        oids = {word: ObjectId(unhexlify(word)) for word in set(hexed)}
        refs = dict(zip(names, map(oids.__getitem__, hexed), strict=True))
        is_short = max(map(len, names)) <= COMPONENT_BYTES
        if is_short and b"0" * digits not in oids and len(refs) == len(names) and sorted(names) == names:
            return refs, names[-1]
    refs = dict(_read_lines(_lines(data), object_format))
    return refs, next(reversed(refs))


def _read_lines(lines: Sequence[str], object_format: ObjectFormat) -> Iterator[tuple[bytes, ObjectId]]:
    before = b""
    for line in lines:
        hexed, _, text = line.partition(" ")
        try:
            name = decode_name(text)
            check_ref_name(name)
            oid = parse_object_id(hexed)
        except (BadRefName, BadId) as error:
            _bad(str(error))
        if name <= before:
            _bad(f"{text[:80]!r} is repeated or not in order")
        before = name
        if len(oid) != object_format.oid_bytes or not any(oid):
            _bad(f"{hexed} is no id of a {object_format.name} repository")
        yield name, oid
