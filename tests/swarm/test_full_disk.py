# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full, and is so no longer: who wants something hears it, and all of it comes as soon as it can.

libtorrent 2.1 that met the full disk itself did not recover in one of ten cases: it asked for nothing any more, waited
for a write for ever, or called whole what was not.
"""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from loopback import PIECE, content, make_reel, pair
from waiting import WAIT_S

from gtfs.durable import replace_file
from gtfs.swarm import receiving, room, torrents, trouble
from gtfs.swarm.eviction import evict
from gtfs.swarm.pieces import DiskTrouble, SessionClosed

pytestmark = pytest.mark.warns

DATA = content(2_000_000)
TRIES = 12


@pytest.fixture
def reel(tmp_path):
    return make_reel(tmp_path / "publisher", DATA)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6M", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(WAIT_S):
        while not is_so():  # noqa: ASYNC110  # nobody reports it
            await trio.sleep(0.05)


def fill(disk: Path, left_bytes: int) -> Path:
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(bytes(room.free_bytes(disk) - left_bytes))
    return filler


@pytest.mark.parametrize("left_bytes", [5 * PIECE, 64 << 10])
@pytest.mark.trio
async def test_a_fetch_that_began_on_a_full_disk_is_whole_as_soon_as_there_is_room(reel, small_disk, left_bytes):
    for number in range(TRIES):
        mirror = small_disk / str(number)
        mirror.mkdir()
        filler = fill(small_disk, left_bytes)
        async with pair(reel, mirror) as (_, torrent, _seeder):
            for _ in range(1 + number % 3):
                with pytest.raises(DiskTrouble, match="No space left"):
                    await torrent.fetch_all(stall_s=WAIT_S)
                assert "No space left" in torrent.trouble
            await trio.sleep(number * 0.05)
            filler.unlink()
            await torrent.fetch_all(stall_s=WAIT_S)
            assert (mirror / "reels" / reel.file_name).read_bytes() == DATA
        (mirror / "reels" / reel.file_name).unlink()


@pytest.mark.trio
async def test_what_there_is_room_for_is_read_from_a_disk_that_is_too_small_for_all(reel, small_disk):
    fill(small_disk, 10 * PIECE)
    async with pair(reel, small_disk) as (_, torrent, _seeder):
        with pytest.raises(DiskTrouble):
            await torrent.fetch_all(stall_s=WAIT_S)
        for piece in range(3):
            # What would be read ahead has no room, and hinders nobody.
            data = await torrent.read(piece * PIECE, 10, deadline_s=WAIT_S, read_ahead=20 * PIECE)
            assert data == DATA[piece * PIECE : piece * PIECE + 10]
        with pytest.raises(DiskTrouble):
            await torrent.read(3 * PIECE, 20 * PIECE, deadline_s=WAIT_S)


@pytest.mark.trio
async def test_the_last_piece_is_wanted_of_nobody_where_there_is_no_room_for_it(reel, small_disk):
    filler = fill(small_disk, PIECE // 4)
    async with pair(reel, small_disk) as (_, torrent, _seeder):
        await torrent.wait_metadata(WAIT_S)
        assert not torrent.board.priorities()[-1]
        assert torrent.trouble is None
        filler.unlink()
        assert await torrent.read(len(DATA) - 10, 10, deadline_s=WAIT_S) == DATA[-10:]


@pytest.mark.trio
async def test_who_has_taken_a_torrent_out_may_delete_its_file(reel, tmp_path, monkeypatch):
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def slow(path: Path, start: int, end: int) -> None:
        begun.set()
        assert go.wait(WAIT_S)
        room.reserve(path, start, end)
        done.set()

    async with pair(reel, tmp_path / "mirror") as (session, torrent, _seeder), trio.open_nursery() as nursery:
        await torrent.wait_metadata(WAIT_S)
        monkeypatch.setattr(torrents, "reserve", slow)

        async def read() -> None:
            with pytest.raises(SessionClosed):
                await torrent.read(0, 10, deadline_s=WAIT_S)

        async def remove() -> None:
            await session.remove(torrent.spec.infohash)
            assert done.is_set()

        nursery.start_soon(read)
        await until(begun.is_set)
        nursery.start_soon(remove)
        await until(lambda: torrent.failure is not None)
        await trio.sleep(0.2)
        go.set()


@pytest.mark.parametrize("was_kept", [False, True])
@pytest.mark.trio
async def test_a_full_disk_gets_room_from_pieces_that_leave_it(reel, small_disk, was_kept):
    async with pair(reel, small_disk) as (mirror, torrent, _seeder):
        await torrent.fetch_all(stall_s=WAIT_S)
        if was_kept:
            await torrent.save_resume()
        fill(small_disk, 0)
        again = await evict(mirror, torrent, set(range(3, 20)))
        await again.wait_metadata(WAIT_S)
        assert [p for p in range(again.board.count) if not again.board.is_here(p)] == list(range(3, 20))
        assert room.free_bytes(small_disk) >= 17 * PIECE - (64 << 10)
        assert await again.read(3 * PIECE, 10, deadline_s=WAIT_S) == DATA[3 * PIECE : 3 * PIECE + 10]


@pytest.mark.trio
async def test_the_trouble_stands_until_there_is_as_much_room_as_was_lacking(reel, small_disk, monkeypatch):
    monkeypatch.setattr(trouble, "RETRY_S", 0.1)
    filler = fill(small_disk, 10 * PIECE)
    async with pair(reel, small_disk) as (_, torrent, _seeder):
        with pytest.raises(DiskTrouble):
            await torrent.fetch_all(stall_s=WAIT_S)
        await trio.sleep(2.5)  # two ticks and more
        assert "No space left" in torrent.trouble
        filler.unlink()
        await until(lambda: torrent.trouble is None)


@pytest.mark.trio
async def test_metadata_that_could_not_be_kept_is_kept_later(reel, tmp_path, monkeypatch):
    monkeypatch.setattr(trouble, "RETRY_S", 0.2)
    failures = 3

    def full(path: Path, data: bytes, *more: Any) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        replace_file(path, data, *more)

    monkeypatch.setattr(receiving, "replace_file", full)
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        with pytest.raises(DiskTrouble, match="No space left"):
            await torrent.fetch_all(stall_s=WAIT_S)
        assert torrent.failure is None
        await until(lambda: failures < 0)
        await torrent.fetch_all(stall_s=WAIT_S)
    assert (tmp_path / "mirror" / "reels" / reel.file_name).read_bytes() == DATA


def test_room_is_taken_without_a_change_of_size_or_content(tmp_path):
    path = tmp_path / "reel"
    room.reserve(path, 0, 3 << 20)
    assert (path.stat().st_size, path.stat().st_blocks * 512 >= 3 << 20) == (0, True)
    path.write_bytes(b"x" * 5000)
    room.reserve(path, 4096, 1 << 20)
    assert path.read_bytes() == b"x" * 5000


def test_of_a_disk_that_has_too_little_nothing_is_taken(small_disk):
    free = room.free_bytes(small_disk)
    with pytest.raises(room.NoRoom) as refused:
        room.reserve(small_disk / "reel", 0, free + 5000)
    assert refused.value.lacking_bytes == free + 5000
    assert room.free_bytes(small_disk) == free


def test_no_link_is_followed_to_take_room(tmp_path):
    (tmp_path / "reel").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        room.reserve(tmp_path / "reel", 0, 5000)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_cannot_reserve_is_looked_at_for_room_alone(tmp_path, monkeypatch, code):
    monkeypatch.setattr(room, "allocate", lambda *_: code)
    room.reserve(tmp_path / "reel", 0, 5000)
    assert (tmp_path / "reel").stat().st_blocks == 0
