# SPDX-License-Identifier: GPL-3.0-or-later
"""A catalogue's refs in chunks that are named by their SHA-256, in a tree whose top the signed text holds (§5).

A *leaf* has refs, a line each, as a catalogue of format 1 has them; a chunk above it names chunks of the level below,
by digest and size. Where a chunk ends follows from names alone, so that a ref that moves changes one leaf and what
names it, and the same refs are the same chunks on every machine. Pure functions, any thread.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from gtfs.ids import InfoHash, ObjectId
from gtfs.metainfo import metainfo_of
from gtfs.trust.refnames import encode_name

CHUNKS_FILE: Final = "catalogue.chunks"  # the name in the torrent of all of them
CHUNK_BYTES: Final = 64 << 10  # of one; a longer one is not fetched
CHUNKS: Final = 1 << 16
TOTAL_BYTES: Final = 64 << 20  # of all: 800,000 refs
LEVELS: Final = 4
TOP: Final = 32  # names in the signed text
LEAST: Final = 24  # lines of a chunk, but for the last one
FULL_BYTES: Final = 16 << 10  # what a writer lets one grow to
_BITS: Final = 5  # of a name's checksum for each level: a chunk goes on for 32 lines after the least


class Chunk(NamedTuple):
    """A chunk by its name, the SHA-256 in hex, and its size in bytes."""

    digest: str
    size: int


ChunkSource = Callable[[Chunk], bytes | None]  # what is in one, unchecked; None if it is not here


class Leaf(NamedTuple):
    """A leaf with the refs that it has, at least one, in order."""

    chunk: Chunk
    refs: Mapping[bytes, ObjectId]
    last: bytes  # name


@dataclass(frozen=True)
class Top:
    """What a signed text says of its refs: ``top`` names chunks that have ``levels`` of others below them.

    ``refs``, ``chunks`` and ``size`` (bytes) are those of all. ``infohash``: of the chunks in the order of
    `RefTree.in_order`, as one file.
    """

    levels: int
    refs: int
    chunks: int
    size: int
    top: tuple[Chunk, ...]
    infohash: InfoHash | None = None


@dataclass(frozen=True)
class RefTree:
    """All chunks of one catalogue. ``above``: the chunks above the leaves, a list for each level, the highest first."""

    above: tuple[tuple[Chunk, ...], ...]
    leaves: tuple[Leaf, ...]
    data: Mapping[str, bytes]  # by digest

    @cached_property
    def refs(self) -> dict[bytes, ObjectId]:
        """Every ref, in order."""
        refs: dict[bytes, ObjectId] = {}
        for leaf in self.leaves:
            refs.update(leaf.refs)
        return refs

    @cached_property
    def leaf_of(self) -> dict[str, Leaf]:
        """The leaves by digest."""
        return {leaf.chunk.digest: leaf for leaf in self.leaves}

    def in_order(self) -> Iterator[Chunk]:
        """Those that the text names, then level by level those below them."""
        for level in self.above:
            yield from level
        for leaf in self.leaves:
            yield leaf.chunk

    def bytes_in_order(self) -> Iterator[bytes]:
        """What is in them, for the torrent."""
        return (self.data[chunk.digest] for chunk in self.in_order())

    def to_top(self, *, with_torrent: bool) -> Top:
        """What the text says of this tree."""
        size = sum(chunk.size for chunk in self.in_order())
        infohash = metainfo_of(CHUNKS_FILE, size, self.bytes_in_order())[1] if with_torrent and size else None
        top = self.above[0] if self.above else tuple(leaf.chunk for leaf in self.leaves)
        return Top(len(self.above), len(self.refs), sum(1 for _ in self.in_order()), size, top, infohash)


def name_chunk(data: bytes) -> Chunk:
    """What these bytes are called."""
    return Chunk(hashlib.sha256(data).hexdigest(), len(data))


def ref_line(name: bytes, oid: ObjectId) -> str:
    """A ref as it stands in a catalogue of format 1 and in a leaf."""
    return f"{oid.hex()} {encode_name(name)}"


def chunk_line(chunk: Chunk) -> str:
    """A chunk as it stands in a signed text and in the chunk above."""
    return f"{chunk.digest} {chunk.size}"


def plant(refs: Mapping[bytes, ObjectId], known: RefTree | None = None) -> RefTree:
    """The tree of refs, which are sorted by name; leaves that did not change are taken from ``known``."""
    data: dict[str, bytes] = {}
    leaves = tuple(_leaves(refs, known, data))
    entries = [(leaf.chunk, zlib.crc32(leaf.last) >> _BITS) for leaf in leaves]
    above: list[tuple[Chunk, ...]] = []
    while len(entries) > TOP:
        entries = list(_join(entries, data))
        above.insert(0, tuple(chunk for chunk, _ in entries))
    return RefTree(tuple(above), leaves, data)


def _leaves(refs: Mapping[bytes, ObjectId], known: RefTree | None, data: dict[str, bytes]) -> Iterator[Leaf]:
    """The leaves in order; their bytes go into ``data``."""
    if known is None:
        yield from _cut(list(refs.items()), data)
        return
    differing = refs.items() ^ known.refs.items()
    changed = sorted({name for name, _ in differing}, reverse=True)  # the next one comes last
    names = list(refs) if changed else []
    waiting: list[tuple[bytes, ObjectId]] = []
    at = 0  # in names
    for leaf in known.leaves:
        is_last = leaf is known.leaves[-1]
        # One that was full ends elsewhere when what comes after it is another.
        has_end = len(leaf.refs) >= LEAST and _is_end(leaf.last)
        if not waiting and (not changed or (has_end and not is_last and changed[-1] > leaf.last)):
            at += len(leaf.refs)
            data[leaf.chunk.digest] = known.data[leaf.chunk.digest]
            yield leaf
            continue
        while at < len(names) and (is_last or names[at] <= leaf.last):
            waiting.append((names[at], refs[names[at]]))
            at += 1
        while changed and changed[-1] <= leaf.last:
            changed.pop()
        made = list(_cut(waiting, data, is_end=is_last))
        yield from made
        waiting = waiting[sum(len(one.refs) for one in made) :]
    if not known.leaves:
        yield from _cut(list(refs.items()), data)


def _cut(refs: Sequence[tuple[bytes, ObjectId]], data: dict[str, bytes], *, is_end: bool = True) -> Iterator[Leaf]:
    """Leaves of these refs, which begin a leaf; what has no end yet is left out unless it ``is_end``."""
    lines: list[str] = []
    size = begin = 0
    for at, (name, oid) in enumerate(refs):
        line = ref_line(name, oid)
        if size + len(line) + 1 > FULL_BYTES:
            yield _leaf(refs[begin:at], lines, data)
            lines, size, begin = [], 0, at
        lines.append(line)
        size += len(line) + 1
        if len(lines) >= LEAST and _is_end(name):
            yield _leaf(refs[begin : at + 1], lines, data)
            lines, size, begin = [], 0, at + 1
    if lines and is_end:
        yield _leaf(refs[begin:], lines, data)


def _is_end(name: bytes) -> bool:
    return not zlib.crc32(name) % (1 << _BITS)


def _leaf(refs: Sequence[tuple[bytes, ObjectId]], lines: Sequence[str], data: dict[str, bytes]) -> Leaf:
    return Leaf(_put(lines, data), dict(refs), refs[-1][0])


def _put(lines: Sequence[str], data: dict[str, bytes]) -> Chunk:
    written = ("\n".join(lines) + "\n").encode("ascii")
    chunk = name_chunk(written)
    data[chunk.digest] = written
    return chunk


def _join(entries: Sequence[tuple[Chunk, int]], data: dict[str, bytes]) -> Iterator[tuple[Chunk, int]]:
    """The level above: each chunk with what is left of the checksum of the last name below it."""
    lines: list[str] = []
    for at, (chunk, rest) in enumerate(entries, 1):
        lines.append(chunk_line(chunk))
        is_full = (len(lines) + 1) * len(lines[0]) > FULL_BYTES
        if at == len(entries) or is_full or (len(lines) >= LEAST and not rest % (1 << _BITS)):
            yield _put(lines, data), rest >> _BITS
            lines = []
