# SPDX-License-Identifier: GPL-3.0-or-later
"""Small true packs for the tests of gtfs.reel: one commit each, made here, read back here."""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import NamedTuple

import pytest

from gtfs.ids import SHA1, ObjectFormat, ObjectId, PackDigest
from gtfs.pack.format import COMMIT, HEADER, CorruptPack, entry_header
from gtfs.reel.index import LocalPack
from gtfs.reel.openreel import OpenReelWriter
from gtfs.reel.recover import Described
from gtfs.reel.seal import PackToSeal
from gtfs.reel.table import Row


class Pack(NamedTuple):
    oid: ObjectId
    time_s: int
    parents: tuple[ObjectId, ...]
    data: bytes

    @property
    def digest(self) -> PackDigest:
        return PackDigest(hashlib.sha256(self.data).digest())

    @property
    def row(self) -> Row:
        return Row(self.oid, len(self.data), self.digest)

    @property
    def source(self) -> PackToSeal:
        return PackToSeal(self.oid, len(self.data), self.digest, lambda: [self.data])

    def local(self, offset: int | None, stage="unpacked") -> LocalPack:
        return LocalPack(self.oid, COMMIT, self.time_s, len(self.data), self.digest, offset, self.parents, stage)


class Packs:
    """Makes packs, and reads them as the scanner and the decoder would."""

    def __init__(self, fmt: ObjectFormat = SHA1) -> None:
        self.fmt = fmt

    def make(self, number: int, *parents: Pack, time_s: int | None = None, filler: int = 0) -> Pack:
        time_s = number if time_s is None else time_s
        lines = [b"tree %s" % (b"0" * self.fmt.oid_bytes * 2)]
        lines += [b"parent %s" % parent.oid.hex().encode() for parent in parents]
        lines += [b"author A <a> 0 +0000", b"committer A <a> %d +0000" % time_s, b"", b"number %d" % number]
        text = b"\n".join(lines) + b"\n" + hashlib.shake_128(b"%d" % number).digest(filler)
        body = HEADER.pack(b"PACK", 2, 1) + entry_header(COMMIT, len(text)) + zlib.compress(text, 1)
        oid = self.fmt.hash_object(b"commit", text)
        return Pack(oid, time_s, tuple(p.oid for p in parents), body + self.fmt.new(body).digest())

    def chain(self, length: int, filler: int = 0) -> list[Pack]:
        made: list[Pack] = []
        for number in range(length):
            made.append(self.make(number, *made[-1:], filler=filler))
        return made

    def scan_prefix(self, view: memoryview) -> int:
        return self._read(view)[0]

    def describe(self, view: memoryview) -> Described:
        text = self._read(view)[1]
        parents = tuple(ObjectId(bytes.fromhex(m.decode())) for m in re.findall(rb"(?m)^parent (\w+)$", text))
        time_s = int(re.search(rb"(?m)^committer .* (\d+) \+0000$", text)[1])
        return Described(self.fmt.hash_object(b"commit", text), COMMIT, time_s, parents, "unpacked")

    def _read(self, view: memoryview) -> tuple[int, bytes]:
        data = bytes(view)
        if data[:12] != HEADER.pack(b"PACK", 2, 1):
            raise CorruptPack("no pack")
        at = 12
        while at < len(data) and data[at] & 0x80:
            at += 1
        inflater = zlib.decompressobj()
        try:
            text = inflater.decompress(data[at + 1 :])
        except zlib.error as error:
            raise CorruptPack("bad zlib") from error
        end = len(data) - len(inflater.unused_data)
        trailer = data[end : end + self.fmt.oid_bytes]
        if not inflater.eof or self.fmt.new(data[:end]).digest() != trailer:
            raise CorruptPack("bad trailer")
        return end + len(trailer), text


def fill(writer: OpenReelWriter, index, packs) -> None:
    """Append packs as the node does: bytes, sync, rows."""
    placed = [(pack, writer.append(pack.data).offset) for pack in packs]
    writer.sync()
    index.packs.put_local(pack.local(offset) for pack, offset in placed)


@pytest.fixture(scope="session")
def packs() -> Packs:
    return Packs()


@pytest.fixture(scope="session")
def make_packs() -> type[Packs]:
    return Packs


@pytest.fixture(scope="session")
def fill_open_reel():
    return fill
