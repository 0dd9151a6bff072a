# SPDX-License-Identifier: GPL-3.0-or-later
"""A good citizen: ports, limits, proxy, encryption, who gives how much, and room given back without loss."""

from __future__ import annotations

import dataclasses
import socket
import threading
from contextlib import asynccontextmanager

import pytest
import trio
from loopback import LOOPBACK, PIECE, at_mirror, content, make_reel, pair
from ports import free_range
from rude_peers import server, socks5
from waiting import WAIT_S

from gtfs.feed import parse_feed
from gtfs.swarm import files
from gtfs.swarm.eviction import evict
from gtfs.swarm.feeds import Validators, fetch
from gtfs.swarm.httpget import open_client
from gtfs.swarm.manners import parse_proxy
from gtfs.swarm.peers import connections, copies_elsewhere
from gtfs.swarm.pieces import NotHere, ReadTimeout, SessionClosed
from gtfs.swarm.session import ListenRefused, open_session

pytestmark = pytest.mark.trio

DATA = content(3 * (1 << 20) + 12345)


@pytest.fixture
def reel(tmp_path):
    return make_reel(tmp_path / "publisher", DATA)


def with_peer(port, **more):
    return dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", port),), **more)


@asynccontextmanager
async def two(reel, directory, publisher=None, **more):
    """A publisher and a mirror with options of their own; yields (mirror session, torrent, publisher's torrent)."""
    async with open_session(dataclasses.replace(LOOPBACK, **(publisher or {}))) as origin:
        seeder = await origin.add(reel)
        async with open_session(with_peer(origin.port, **more)) as mirror:
            yield mirror, await mirror.add(at_mirror(reel, directory)), seeder


async def test_a_port_of_the_range_is_taken_and_a_full_range_is_an_error():
    first, last = free_range()
    options = dataclasses.replace(LOOPBACK, ports=(first, last))
    async with open_session(options) as one, open_session(options) as other:
        assert {one.port, other.port} == {first, last}
        with pytest.raises(ListenRefused, match="every port"):
            async with open_session(options):
                pass


async def test_a_session_on_an_interface_listens_and_dials_there(reel, tmp_path):
    async with open_session(dataclasses.replace(LOOPBACK, listen="lo:0", interface="lo")) as origin:
        await origin.add(reel)
        async with open_session(with_peer(origin.port, listen="lo:0", interface="lo")) as mirror:
            torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
            assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]


async def test_peers_are_reached_by_way_of_the_proxy_only(reel, tmp_path):
    connects: list[tuple[str, int]] = []
    async with socks5(connects) as port, open_session(LOOPBACK) as origin:
        await origin.add(reel)
        proxy = parse_proxy(f"socks5://127.0.0.1:{port}")
        async with open_session(with_peer(origin.port, proxy=proxy)) as mirror:
            torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
            await torrent.fetch_all(stall_s=WAIT_S)
            assert set(connects) == {("127.0.0.1", origin.port)}


async def test_a_dead_proxy_is_not_gone_around(reel, tmp_path):
    async with open_session(LOOPBACK) as origin:
        await origin.add(reel)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            dead = parse_proxy(f"socks5://127.0.0.1:{probe.getsockname()[1]}")
            async with open_session(with_peer(origin.port, proxy=dead)) as mirror:
                torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
                with pytest.raises(ReadTimeout):
                    await torrent.read(0, 10, deadline_s=2)


async def test_feeds_go_by_way_of_the_proxy():
    async def web(stream):
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes")

    connects: list[tuple[str, int]] = []
    async with server(web) as web_port, socks5(connects) as port, open_client(f"socks5://127.0.0.1:{port}") as client:
        feed = parse_feed(f"http://localhost:{web_port}/latest.asc")
        assert (await fetch(feed, Validators(), client)).document == b"yes"
    assert connects == [("localhost", web_port)]  # the proxy looks names up


@pytest.mark.parametrize(
    ("ours", "theirs", "meet"),
    [
        ("required", "enabled", True),
        ("required", "required", True),
        ("required", "disabled", False),
        ("disabled", "enabled", True),
    ],
)
async def test_encryption_is_agreed_or_there_is_no_connection(reel, tmp_path, ours, theirs, meet):
    async with two(reel, tmp_path / "m", {"encryption": theirs}, encryption=ours) as (_, torrent, _seeder):
        if not meet:
            with pytest.raises(ReadTimeout):
                await torrent.read(0, 10, deadline_s=3)
            return
        assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
        assert {peer.encrypted for peer in await connections(torrent)} == {ours == "required"}


async def test_a_limit_of_connections_holds(reel, tmp_path):
    async with open_session(dataclasses.replace(LOOPBACK, connections=2)) as origin:
        seeder = await origin.add(reel)
        options = with_peer(origin.port)
        async with open_session(options) as a, open_session(options) as b, open_session(options) as c:
            for n, session in enumerate((a, b, c)):
                await session.add(at_mirror(reel, tmp_path / f"m{n}"))
            for _ in range(30):
                await trio.sleep(0.1)
                assert len(await connections(seeder)) <= 2


async def test_what_each_peer_gave_and_took_is_told_and_the_total_survives_a_restart(reel, tmp_path):
    async with two(reel, tmp_path / "mirror") as (_, torrent, seeder):
        await torrent.fetch_all(stall_s=WAIT_S)
        (giver,) = await connections(torrent)
        assert (giver.downloaded_bytes, giver.progress, giver.client) == (len(DATA), 1.0, "gtfs")
        assert not giver.incoming
        (taker,) = await connections(seeder)
        assert taker.incoming
        with trio.fail_after(WAIT_S):  # what was sent may be counted after it came, and is added up once a second
            while taker.uploaded_bytes < len(DATA):
                await trio.sleep(0.01)
                (taker,) = await connections(seeder)
            assert taker.uploaded_bytes == len(DATA)
            while (await seeder.refresh()).ever_uploaded_bytes < len(DATA):  # noqa: ASYNC110
                await trio.sleep(0.1)
    async with open_session(LOOPBACK) as origin:
        seeder = await origin.add(reel)
        await seeder.wait_metadata(WAIT_S)
        assert (await seeder.refresh()).ever_uploaded_bytes == len(DATA)


async def test_evicted_pieces_are_holes_that_nobody_is_offered_and_can_be_fetched_again(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        await torrent.fetch_all(stall_s=WAIT_S)
        before = torrent.spec.path.stat().st_blocks
        copies = await copies_elsewhere(torrent, mirror.peer_id)
        assert set(copies) == {1}
        await torrent.read(0, PIECE, deadline_s=WAIT_S)
        again = await evict(mirror, torrent, set(range(3, 40)))
        assert torrent.failure is not None
        await again.wait_metadata(WAIT_S)
        assert [p for p in range(again.board.count) if not again.board.is_here(p)] == list(range(3, 40))
        assert before - again.spec.path.stat().st_blocks == 37 * PIECE // 512
        assert 0 in again.last_used
        assert (await again.refresh()).downloaded_bytes == 0
        assert await again.read(4 * PIECE, PIECE, deadline_s=WAIT_S) == DATA[4 * PIECE : 5 * PIECE]
        # A third node is told the truth: this one alone cannot give it everything.
        async with open_session(with_peer(mirror.port, pex=False)) as third:
            taker = await third.add(at_mirror(reel, tmp_path / "third"))
            assert await taker.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
            with pytest.raises(ReadTimeout):
                await taker.read(20 * PIECE, 10, deadline_s=1)


async def test_a_reader_of_an_evicted_torrent_hears_of_it(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        await torrent.fetch_all(stall_s=WAIT_S)
        await evict(mirror, torrent, {1})
        assert torrent.milestones.gone.is_set()
        with pytest.raises(SessionClosed):
            await torrent.read(PIECE, 1, deadline_s=WAIT_S)


@pytest.mark.parametrize("way", ["read", "read_here"])
async def test_what_is_read_of_a_piece_while_it_leaves_is_not_believed(reel, tmp_path, monkeypatch, way):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        await torrent.fetch_all(stall_s=WAIT_S)
        for _ in range(2):  # from then on it is known to be sound, and read without its hash
            torrent.tick()
            await torrent.read_here(PIECE, 10)
        torrent.tick()
        begun, gone, real = trio.Event(), threading.Event(), files.read_at

        def late(*given):
            monkeypatch.undo()
            trio.from_thread.run_sync(begun.set)
            gone.wait(WAIT_S)
            return real(*given)

        monkeypatch.setattr(files, "read_at", late)

        async def read():
            with pytest.raises(SessionClosed):
                await (torrent.read(PIECE, 10, deadline_s=WAIT_S) if way == "read" else torrent.read_here(PIECE, 10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await begun.wait()
            await evict(mirror, torrent, {1})
            gone.set()


async def test_what_is_to_be_read_from_here_alone_waits_for_nobody(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        await torrent.fetch_all(stall_s=WAIT_S)
        assert await torrent.read_here(PIECE - 5, 10) == DATA[PIECE - 5 : PIECE + 5]
        again = await evict(mirror, torrent, {1})
        with pytest.raises(NotHere):
            await again.read_here(PIECE - 5, 10)  # whether it is known by now which pieces are here, or not
        await again.wait_metadata(WAIT_S)
        assert await again.read_here(PIECE - 5, 5) == DATA[PIECE - 5 : PIECE]
        with pytest.raises(NotHere):
            await again.read_here(PIECE - 5, 10)
        assert not again.board.is_here(1)


async def test_a_liar_and_a_peer_that_has_a_part_are_no_copy(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        await torrent.read(5 * PIECE, 10, deadline_s=WAIT_S)
        async with open_session(with_peer(mirror.port, pex=False)) as third:
            other = await third.add(at_mirror(reel, tmp_path / "third"))
            await other.read(5 * PIECE, 10, deadline_s=WAIT_S)
            copies = await copies_elsewhere(other, third.peer_id)
            assert copies[5] >= 1
            assert min(copies) == 0


async def test_of_two_caches_each_piece_has_one_that_keeps_it(reel, tmp_path):
    caches = dataclasses.replace(LOOPBACK, seeks_seeds=True)
    async with open_session(LOOPBACK) as origin:
        await origin.add(reel)
        one_options = dataclasses.replace(caches, peers=(("127.0.0.1", origin.port),))
        async with open_session(one_options) as one:
            here = await one.add(at_mirror(reel, tmp_path / "one"))
            await here.fetch_all(stall_s=WAIT_S)
            two_options = dataclasses.replace(caches, peers=(("127.0.0.1", one.port),))
            async with open_session(two_options) as two:
                there = await two.add(at_mirror(reel, tmp_path / "two"))
                await there.fetch_all(stall_s=WAIT_S)
                # A publisher keeps everything; without it, either keeps what the other may let go of.
                assert min(await copies_elsewhere(here, one.peer_id)) >= 1
                await origin.remove(reel.infohash)
                with trio.fail_after(WAIT_S):
                    while len(await connections(here)) > 1 or len(await connections(there)) > 1:  # noqa: ASYNC110
                        await trio.sleep(0.1)
                kept_there = await copies_elsewhere(here, one.peer_id)
                kept_here = await copies_elsewhere(there, two.peer_id)
                assert [a + b for a, b in zip(kept_there, kept_here, strict=True)] == [1] * here.board.count
                assert 0 in kept_there and 0 in kept_here


async def test_a_reel_in_two_places_is_seeded_once_and_the_lacking_one_is_filled(reel, tmp_path):
    async with open_session(LOOPBACK) as session:
        lacking = await session.add(at_mirror(reel, tmp_path / "mirror"))
        assert await session.add(reel) is lacking
        await lacking.fetch_all(stall_s=WAIT_S)
        assert lacking.spec.path.read_bytes() == DATA
        assert len(session.torrents()) == 1
        assert (await session.refresh()).downloaded_bytes == 0
