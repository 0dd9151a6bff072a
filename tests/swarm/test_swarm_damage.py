# SPDX-License-Identifier: GPL-3.0-or-later
"""Damage and restarts: lying peers, wrong metadata, rotten disks, lost files, killed processes."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
import trio
from loopback import LOOPBACK, PIECE, at_mirror, content, foreign_seeder, infohash_of, make_info, make_reel, pair
from waiting import WAIT_S

from gtfs.metainfo import BadMetainfo
from gtfs.swarm import trouble
from gtfs.swarm.pieces import DiskTrouble, ReadTimeout, SwarmError
from gtfs.swarm.session import open_session

pytestmark = pytest.mark.trio

DATA = content(3 * (1 << 20) + 12345)


@pytest.fixture
def reel(tmp_path):
    return make_reel(tmp_path / "publisher", DATA)


async def test_a_complete_reel_that_is_not_there_is_refused(reel):
    reel.path.write_bytes(DATA[:-1])
    async with open_session(LOOPBACK) as session:
        with pytest.raises(SwarmError, match="not there whole"):
            await session.add(reel)
        assert session.torrents() == ()


@pytest.mark.warns
async def test_a_flipped_byte_in_the_seeders_file_never_reaches_a_reader(reel, tmp_path):
    damaged = bytearray(DATA)
    damaged[10 * PIECE + 5] ^= 1
    reel.path.write_bytes(damaged)
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
        with pytest.raises(ReadTimeout):
            await torrent.read(10 * PIECE, 10, deadline_s=2)


async def test_a_peer_that_sends_wrong_bytes_is_not_believed(tmp_path, reel):
    info = make_info(reel.file_name, DATA)
    damaged = bytearray(DATA)
    damaged[10 * PIECE + 5] ^= 1
    with foreign_seeder(tmp_path / "liar", info, bytes(damaged), reel.file_name, lies=True) as port:
        async with open_session(dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", port),))) as mirror:
            torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
            assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
            with trio.fail_after(WAIT_S):
                while not torrent.statistics().hash_failures:
                    with pytest.raises(ReadTimeout):
                        await torrent.read(10 * PIECE, 10, deadline_s=2)


@pytest.mark.warns
async def test_a_byte_flipped_on_our_own_disk_is_noticed_and_fetched_again(reel, tmp_path, caplog):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        await torrent.fetch_all(stall_s=WAIT_S)
        await mirror.remove(torrent.spec.infohash)
        damaged = bytearray(torrent.spec.path.read_bytes())
        damaged[10 * PIECE + 5] ^= 1
        torrent.spec.path.write_bytes(damaged)
        again = await mirror.add(torrent.spec)
        await again.wait_metadata(WAIT_S)
        assert again.is_complete()  # the resume data says so
        assert await again.read(10 * PIECE, 10, deadline_s=WAIT_S) == DATA[10 * PIECE : 10 * PIECE + 10]
        assert "damaged" in caplog.text


@pytest.mark.warns
@pytest.mark.parametrize(
    "claim",
    [
        {"file_name": "b" * 64 + ".reel"},
        {"size": len(DATA) - 1},
        {"size": len(DATA) + PIECE},
        {"piece_length": 2 * PIECE},
    ],
    ids=["name", "size", "pieces", "piece-length"],
)
async def test_metadata_that_is_not_what_the_catalogue_said_is_refused(reel, tmp_path, claim):
    async with pair(reel, tmp_path / "mirror", **claim) as (mirror, torrent, _):
        with pytest.raises(BadMetainfo):
            await torrent.wait_metadata(WAIT_S)
        with pytest.raises(BadMetainfo):
            await torrent.read(0, 10, deadline_s=1)
        assert list(torrent.spec.directory.iterdir()) == []
        await mirror.remove(torrent.spec.infohash)
        assert mirror.torrents() == ()


@pytest.mark.warns
async def test_metadata_with_a_path_or_more_files_writes_nothing(tmp_path):
    data = content(PIECE)
    sizes = {b"one": PIECE // 2, b"empty": 0, b"two": PIECE // 2}
    files = [{b"length": size, b"path": [name]} for name, size in sizes.items()]
    pieces = hashlib.sha1(data).digest()
    entry: Any = {b"files": files, b"name": b"x", b"piece length": PIECE, b"pieces": pieces}
    info = lt.bencode(entry)
    spec = at_mirror(make_reel(tmp_path / "p", data), tmp_path / "mirror", infohash=infohash_of(info))
    (tmp_path / "evil" / "x").mkdir(parents=True)
    with foreign_seeder(tmp_path / "evil", info, b"", "unused") as port:
        (tmp_path / "evil" / "x" / "one").write_bytes(data[: PIECE // 2])
        (tmp_path / "evil" / "x" / "empty").write_bytes(b"")
        (tmp_path / "evil" / "x" / "two").write_bytes(data[PIECE // 2 :])
        async with open_session(dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", port),))) as mirror:
            torrent = await mirror.add(spec)
            with pytest.raises(BadMetainfo):
                await torrent.wait_metadata(WAIT_S)
    assert list(spec.directory.iterdir()) == []


async def test_resume_after_a_restart_knows_the_pieces_without_hashing(reel, tmp_path):
    spec = at_mirror(reel, tmp_path / "mirror")
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        await torrent.read(5 * PIECE, 2 * PIECE, deadline_s=WAIT_S)
    assert spec.resume.exists()
    # Offline now: what was read is still readable, what was not times out.
    async with open_session(LOOPBACK) as mirror:
        torrent = await mirror.add(spec)
        await torrent.wait_metadata(WAIT_S)
        assert torrent.board.is_here(5)
        assert torrent.board.is_here(6)
        assert await torrent.read(5 * PIECE, 2 * PIECE, deadline_s=WAIT_S) == DATA[5 * PIECE : 7 * PIECE]
        with pytest.raises(ReadTimeout):
            await torrent.read(0, 10, deadline_s=0.3)


@pytest.mark.warns
async def test_a_lost_resume_file_means_hashing_the_reel_again(reel, tmp_path):
    spec = at_mirror(reel, tmp_path / "mirror")
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        await torrent.fetch_all(stall_s=WAIT_S)
    spec.resume.write_bytes(b"rubbish")
    async with open_session(LOOPBACK) as mirror:
        torrent = await mirror.add(spec)
        await torrent.wait_metadata(WAIT_S)
        assert torrent.is_complete()


async def test_lost_metainfo_and_resume_beside_a_whole_file_costs_no_download(reel, tmp_path):
    spec = at_mirror(reel, tmp_path / "mirror")
    spec.path.write_bytes(DATA)
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        await torrent.wait_metadata(WAIT_S)
        assert torrent.is_complete()
        assert (await torrent.refresh()).downloaded_bytes == 0
        assert await torrent.read(5, 10, deadline_s=WAIT_S) == DATA[5:15]


@pytest.mark.warns
async def test_bad_kept_metainfo_is_fetched_anew(reel, tmp_path, caplog):
    spec = at_mirror(reel, tmp_path / "mirror")
    spec.metainfo.write_bytes(b"d4:infod4:name1:xee")
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
    assert "is not used" in caplog.text
    assert spec.metainfo.read_bytes() == reel.metainfo.read_bytes()


async def test_losing_alerts_loses_no_pieces(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        await torrent.read(0, 2 * PIECE, deadline_s=WAIT_S)
        # As if the alerts of these pieces had been among the dropped ones.
        torrent.board.replace(bytes(torrent.board.count))
        torrent.reports.on_dropped()
        with trio.fail_after(WAIT_S):
            await torrent.board.wait_held(1)
        assert torrent.board.is_here(0)


async def test_another_process_serves_a_reel_and_its_death_is_survived(reel, tmp_path):
    process = await trio.lowlevel.open_process(
        [sys.executable, str(Path(__file__).with_name("seed_process.py")), str(tmp_path / "publisher")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.receive_some(100))
        async with open_session(dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", port),))) as mirror:
            torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
            assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
            process.kill()
            await process.wait()
            with pytest.raises(ReadTimeout):
                await torrent.read(20 * PIECE, 10, deadline_s=1)
            assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await process.stdout.aclose()


@pytest.mark.warns
async def test_a_file_that_cannot_be_written_is_named_and_tried_again(reel, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(trouble, "RETRY_S", 0.2)
    spec = at_mirror(reel, tmp_path / "mirror")
    spec.path.mkdir()  # stands for any error of the disk
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        # libtorrent 2.0 cannot map a directory, 2.1 cannot open it.
        with pytest.raises(ReadTimeout, match=r"directory|device"):
            await torrent.read(0, 10, deadline_s=WAIT_S)
        spec.path.rmdir()
        assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
    assert "directory" in caplog.text


@pytest.mark.warns
async def test_a_fetch_or_read_is_told_of_a_full_disk_as_soon_as_it_is(reel, tmp_path, monkeypatch):
    monkeypatch.setattr(trouble, "RETRY_S", 0.2)
    spec = at_mirror(reel, tmp_path / "mirror")
    spec.path.mkdir()  # stands for any error of the disk
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        # Without a deadline: if nobody told, this would not end.
        with pytest.raises(DiskTrouble, match="directory"):
            await torrent.fetch_all(stall_s=math.inf)
        with pytest.raises(DiskTrouble, match="directory"):
            await torrent.read(0, 10, deadline_s=math.inf)


@pytest.mark.warns
@pytest.mark.parametrize("size", [0, 3 * PIECE, len(DATA) - 1, None])
async def test_a_truncated_file_is_hashed_whatever_its_resume_data_says(reel, tmp_path, size):
    spec = at_mirror(reel, tmp_path / "mirror")
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        await torrent.fetch_all(stall_s=WAIT_S)
        await torrent.questions.flush()
        await torrent.save_resume()
    if size is None:
        spec.path.unlink()
    else:
        with spec.path.open("r+b") as file:
            file.truncate(size)
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        await torrent.wait_metadata(WAIT_S)
        assert not torrent.is_complete()
        await torrent.fetch_all(stall_s=WAIT_S)
        await torrent.questions.flush()
    assert spec.path.read_bytes() == DATA
