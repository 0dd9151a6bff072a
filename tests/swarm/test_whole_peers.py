# SPDX-License-Identifier: GPL-3.0-or-later
"""Two that have everything are not kept connected, and still know of each other."""

from __future__ import annotations

import dataclasses
from contextlib import asynccontextmanager

import pytest
import trio
from loopback import LOOPBACK, PIECE, at_mirror, content, make_reel, pair
from waiting import WAIT_S

from gtfs.swarm.session import open_session

pytestmark = pytest.mark.trio


@pytest.fixture
def reel(tmp_path):
    return make_reel(tmp_path / "publisher", content(8 * PIECE))


async def wait_peers(torrent, count: int) -> None:
    """Until so many are connected."""
    with trio.fail_after(WAIT_S):
        while (await torrent.refresh()).peers != count:  # noqa: ASYNC110
            await trio.sleep(0.05)


async def look(session, most: int) -> int:
    """Once the session's counters are those of this moment."""
    await session.refresh()
    for torrent in session.torrents():
        await torrent.refresh()
    hung_up: int = await session.whole_peers.look(most)
    return hung_up


@asynccontextmanager
async def whole_pair(reel, directory):
    """A publisher and a mirror that has fetched everything from it."""
    async with pair(reel, directory) as (mirror, torrent, seeder):
        with trio.fail_after(WAIT_S):
            await torrent.fetch_all()
        await wait_peers(seeder, 1)
        yield mirror, torrent, seeder


async def test_complete_peers_are_hung_up_on_and_stay_counted(reel, tmp_path):
    async with whole_pair(reel, tmp_path) as (mirror, torrent, seeder):
        assert await look(mirror, 0) == 1
        await wait_peers(torrent, 0)
        await wait_peers(seeder, 0)
        assert torrent.copies.count() == 1


async def test_few_connections_stay(reel, tmp_path):
    async with whole_pair(reel, tmp_path) as (mirror, torrent, _):
        assert await look(mirror, 1) == 0
        assert torrent.copies.count() == 1
        await wait_peers(torrent, 1)


async def test_who_comes_after_that_gets_everything(reel, tmp_path):
    async with whole_pair(reel, tmp_path / "first") as (mirror, torrent, seeder):
        await look(mirror, 0)
        await wait_peers(seeder, 0)
        options = dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", mirror.port),), pex=False)
        async with open_session(options) as later:
            fetched = await later.add(at_mirror(reel, tmp_path / "second"))
            with trio.fail_after(WAIT_S):
                await fetched.fetch_all()
            await wait_peers(torrent, 1)
            # It was not complete when it came, and is by now.
            assert await look(mirror, 0) == 1
            assert torrent.copies.count() == 2


async def test_a_reader_keeps_the_peer_that_has_what_it_may_ask_for(reel, tmp_path):
    async with pair(reel, tmp_path) as (mirror, torrent, _):
        await torrent.read(0, PIECE, deadline_s=WAIT_S)
        assert await look(mirror, 0) == 0
        await wait_peers(torrent, 1)
        assert torrent.copies.count() == 0


async def test_a_cache_that_has_everything_keeps_its_peers_and_is_kept(reel, tmp_path):
    async with open_session(LOOPBACK) as publisher:
        seeder = await publisher.add(reel)
        options = dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", publisher.port),), seeks_seeds=True)
        async with open_session(options) as cache:
            torrent = await cache.add(at_mirror(reel, tmp_path / "cache"))
            with trio.fail_after(WAIT_S):
                await torrent.fetch_all()
            await wait_peers(seeder, 1)
            assert await look(cache, 0) == 0
            assert await look(publisher, 0) == 0
            await wait_peers(torrent, 1)
