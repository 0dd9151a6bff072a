# SPDX-License-Identifier: GPL-3.0-or-later
"""A reel of more than four gigabytes, of which hardly anything is on the disk."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import pytest
from loopback import bencode, infohash_of, make_reel, pair
from waiting import WAIT_S

from gtfs.metainfo import piece_count, piece_length
from gtfs.swarm.eviction import evict
from gtfs.swarm.torrents import TorrentSpec

pytestmark = pytest.mark.trio

SIZE = (5 << 30) + 12345
PIECE = piece_length(SIZE)
MARKS = {0: b"start", (1 << 31) - 3: b"31 bits", (1 << 32) - 3: b"32 bits", SIZE - 3: b"end"}


@pytest.fixture
def reel(tmp_path) -> TorrentSpec:
    """Zeros, but for some marks."""
    name = "a" * 64 + ".reel"
    small = make_reel(tmp_path / "publisher", b"x", name)
    fd = os.open(small.path, os.O_RDWR)
    os.ftruncate(fd, 0)
    os.ftruncate(fd, SIZE)
    for at, mark in MARKS.items():
        os.pwrite(fd, mark, at)
    touched = {p for at, mark in MARKS.items() for p in range(at // PIECE, (at + len(mark) - 1) // PIECE + 1)}
    count = piece_count(SIZE, PIECE)
    hashes = [hashlib.sha1(bytes(PIECE)).digest()] * count
    for piece in touched | {count - 1}:
        hashes[piece] = hashlib.sha1(os.pread(fd, PIECE, piece * PIECE)).digest()
    os.close(fd)
    info = bencode({b"length": SIZE, b"name": name.encode(), b"piece length": PIECE, b"pieces": b"".join(hashes)})
    small.metainfo.write_bytes(b"d4:info" + info + b"e")
    return dataclasses.replace(small, infohash=infohash_of(info), size=SIZE, piece_length=PIECE)


async def test_a_reel_of_five_gib_is_read_beyond_31_and_32_bits_and_lets_go_there(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        for at, mark in MARKS.items():
            assert await torrent.read(at, len(mark), deadline_s=WAIT_S) == mark
            assert torrent.local_bytes(at, len(mark)) == len(mark)
        await torrent.questions.flush()
        path = torrent.spec.path
        assert path.stat().st_size == SIZE
        with path.open("rb") as file:
            file.seek((1 << 32) - 3)
            assert file.read(7) == b"32 bits"
        beyond = (1 << 32) // PIECE
        before = path.stat().st_blocks
        again = await evict(mirror, torrent, [beyond])
        await again.wait_metadata(WAIT_S)
        assert again.local_bytes((1 << 32) - 3, 7) == 3
        assert path.stat().st_blocks < before
        assert await again.read((1 << 32) - 3, 7, deadline_s=WAIT_S) == b"32 bits"
