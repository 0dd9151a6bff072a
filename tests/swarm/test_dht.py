# SPDX-License-Identifier: GPL-3.0-or-later
"""Pointers in a DHT of sessions on loopback, with liars among its nodes; peers by the DHT and by an infohash alone."""

from __future__ import annotations

import dataclasses
from contextlib import asynccontextmanager

import pytest
import trio
from loopback import LOOPBACK, at_mirror, bdecode, bencode, content, make_reel
from waiting import WAIT_S

from gtfs.ids import InfoHash
from gtfs.state.feedkey import FeedKey
from gtfs.swarm.addresses import AddressBook
from gtfs.swarm.dht import Dht
from gtfs.swarm.pieces import SwarmTimeout
from gtfs.swarm.pointers import sign_pointer
from gtfs.swarm.session import open_session

pytestmark = pytest.mark.trio

KEY = FeedKey(bytes(range(32)))
NEW, OLD = (sign_pointer(KEY, b"demo", n, InfoHash(bytes([n]) * 20)) for n in (7, 6))


@asynccontextmanager
async def member(*entries, **changes):
    """A session in the DHT that these sessions are in."""
    nodes = tuple(("127.0.0.1", entry.port) for entry in entries)
    # Without any entry a node must still know that all others are on this machine.
    nodes = nodes or (("127.0.0.1", 9),)
    async with open_session(dataclasses.replace(LOOPBACK, dht=True, dht_nodes=nodes, **changes)) as session:
        yield session


async def find(session, name=b"demo"):
    return await session.dht.find_pointer(KEY.public, name)


async def test_a_pointer_put_by_one_node_is_found_by_another():
    async with member() as entry, member(entry) as publisher, member(entry) as mirror:
        assert await publisher.dht.put_pointer(NEW) >= 2
        found = await find(mirror)
        assert found.pointer == NEW
        assert found.nodes >= 1
        assert (await find(mirror, b"other")).pointer is None
        # Nodes keep the newer one by themselves.
        await publisher.dht.put_pointer(OLD)
        assert (await find(mirror)).pointer == NEW


@pytest.mark.warns
async def test_who_is_named_by_a_name_is_asked(monkeypatch):
    look_up = trio.socket.getaddrinfo

    async def getaddrinfo(host, *more, **others):
        if host == "nobody":
            raise OSError("there is none of this name")
        return await look_up(host, *more, **others)

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    async with member() as entry:
        await entry.dht.put_pointer(NEW)
        named = dataclasses.replace(LOOPBACK, dht=True, dht_nodes=(("localhost", entry.port), ("nobody", 1)))
        async with open_session(named) as mirror:
            assert (await find(mirror)).pointer == NEW


async def test_alone_there_is_nobody_to_ask():
    async with member() as session:
        assert (await find(session)).nodes == 0
        assert await session.dht.put_pointer(NEW) == 1  # our own
        assert (await find(session)).pointer == NEW


async def liar(sock, give, named=()):
    """A DHT node that answers each get with ``give``, as if it were the closest of all."""
    nodes = b"".join(b"i" * 20 + bytes([127, 0, 0, 1]) + port.to_bytes(2, "big") for port in named)
    while True:
        data, sender = await sock.recvfrom(4096)
        question = bdecode(data)
        if question.get(b"y") != b"q":
            continue
        identity = question[b"a"].get(b"target", b"l" * 20)
        answer = {b"id": identity, b"token": b"t", b"nodes": nodes, **give}
        await sock.sendto(bencode({b"t": question[b"t"], b"y": b"r", b"r": answer}), sender)


@pytest.mark.parametrize("order", [1, -1])
async def test_lying_nodes_neither_forge_nor_hide_the_newest_pointer(order):
    forged = {b"k": KEY.public, b"seq": 9, b"sig": b"s" * 64, b"v": {b"ih": b"x" * 20}}
    foreign = sign_pointer(FeedKey(b"f" * 32), b"demo", 99, InfoHash(b"y" * 20))
    others = {b"k": foreign.key, b"seq": 99, b"sig": foreign.signature, b"v": bdecode(foreign.value)}
    old = {b"k": KEY.public, b"seq": OLD.sequence, b"sig": OLD.signature, b"v": bdecode(OLD.value)}
    garbage = {b"seq": b"", b"sig": 5, b"v": [[[1]]], b"nodes": 7, b"nodes6": b"cut"}
    async with trio.open_nursery() as nursery:
        ports: list[int] = []
        for give in (forged, others, old, garbage)[::order]:
            sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
            await sock.bind(("127.0.0.1", 0))
            nursery.start_soon(liar, sock, give, tuple(ports))
            ports.append(sock.getsockname()[1])
        async with member() as entry, member(entry) as publisher:
            await publisher.dht.put_pointer(NEW)
            asks = dataclasses.replace(
                publisher.options, dht_nodes=tuple(("127.0.0.1", port) for port in (*ports, entry.port))
            )
            found = await Dht(asks, publisher.listener.dht_nodes, AddressBook()).find_pointer(KEY.public, b"demo")
            assert found.pointer == NEW
            # And where only liars are, there is nothing but the old one, which the key did sign.
            alone = dataclasses.replace(asks, dht_nodes=tuple(("127.0.0.1", port) for port in ports))
            found = await Dht(alone, tuple, AddressBook()).find_pointer(KEY.public, b"demo")
            assert found.pointer == OLD
        nursery.cancel_scope.cancel()


async def test_peers_meet_by_the_dht(tmp_path):
    data = content(300_000)
    reel = make_reel(tmp_path / "publisher", data)
    async with member() as entry, member(entry) as publisher, member(entry) as mirror:
        await publisher.add(reel)
        torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
        assert await torrent.read(5, 10, deadline_s=WAIT_S) == data[5:15]


async def test_who_is_named_as_a_dht_node_is_asked_for_the_info_and_known_from_then_on(tmp_path):
    # The DHT has nothing to say of a quiet torrent.
    reel = dataclasses.replace(make_reel(tmp_path / "publisher", content(300_000)), is_quiet=True)
    async with member() as publisher, member(publisher) as mirror:
        await publisher.add(reel)
        info = await mirror.learn_info(reel.infohash, tmp_path / "staging", deadline_s=WAIT_S)
        assert b"d4:info" + info + b"e" == reel.metainfo.read_bytes()
        assert mirror.met() == (("127.0.0.1", publisher.port),)


async def test_a_torrent_of_the_session_gives_its_info_and_stays(tmp_path):
    reel = make_reel(tmp_path / "publisher", content(300_000))
    async with open_session(LOOPBACK) as session:
        torrent = await session.add(reel)
        info = await session.learn_info(reel.infohash, tmp_path / "staging", deadline_s=WAIT_S)
        assert b"d4:info" + info + b"e" == reel.metainfo.read_bytes()
        await session.refresh()
        assert torrent.failure is None
        assert len(await torrent.read(0, 100, deadline_s=WAIT_S)) == 100


async def test_who_is_cancelled_as_he_asks_leaves_nothing_behind(tmp_path):
    reel = make_reel(tmp_path / "publisher", content(300_000))
    async with open_session(LOOPBACK) as session:
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.learn_info(reel.infohash, tmp_path / "staging", deadline_s=WAIT_S)
        torrent = await session.add(reel)
        await torrent.wait_metadata(WAIT_S)


async def test_an_infohash_alone_gives_the_info_and_leaves_nothing(tmp_path):
    reel = make_reel(tmp_path / "publisher", content(300_000))
    async with member() as publisher:
        await publisher.add(reel)
        async with member(publisher, peers=(("127.0.0.1", publisher.port),)) as mirror:
            info = await mirror.learn_info(reel.infohash, tmp_path / "staging", deadline_s=WAIT_S)
            assert b"d4:info" + info + b"e" == reel.metainfo.read_bytes()
            assert not (tmp_path / "staging").exists()
            assert not mirror.torrents()
            with pytest.raises(SwarmTimeout, match="no peer gave its metadata"):
                await mirror.learn_info(InfoHash(b"?" * 20), tmp_path / "staging", deadline_s=1)
            # And it may be added like any other afterwards.
            torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
            assert len(await torrent.read(0, 100, deadline_s=WAIT_S)) == 100
