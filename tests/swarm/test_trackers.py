# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that know nothing of each other meet through an HTTP tracker (BEP 3, BEP 23)."""

from __future__ import annotations

import dataclasses
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
from loopback import LOOPBACK, at_mirror, bencode, content, make_reel
from ports import free_port
from waiting import WAIT_S

from gtfs.swarm import announcing
from gtfs.swarm.adding import UNTOLD
from gtfs.swarm.doors import door_of, door_params
from gtfs.swarm.options import SwarmOptions
from gtfs.swarm.session import open_session

pytestmark = pytest.mark.trio

DATA = content(1 << 20)


class Server(ThreadingHTTPServer):
    swarms: dict[bytes, list[bytes]]


class Tracker(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query, encoding="latin-1")
        swarm = self.server.swarms.setdefault(query["info_hash"][0].encode("latin-1"), [])
        me = socket.inet_aton(self.client_address[0]) + struct.pack(">H", int(query["port"][0]))
        others = b"".join(peer for peer in swarm if peer != me)
        if query.get("event") == ["stopped"]:
            swarm.remove(me)
        elif me not in swarm:
            swarm.append(me)
        body = bencode({b"interval": 60, b"peers": others})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:  # who says goodbye does not stay for the answer
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def tracker():
    with Server(("127.0.0.1", 0), Tracker) as httpd:
        httpd.swarms = {}
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


async def test_a_tracker_brings_peers_together_even_beside_a_dead_one(tracker, tmp_path):
    live = f"http://127.0.0.1:{tracker.server_address[1]}/announce"
    dead = f"http://127.0.0.1:{free_port()}/announce"
    reel = make_reel(tmp_path / "publisher", DATA)
    options = dataclasses.replace(LOOPBACK, trackers=(dead, live))
    async with open_session(options) as publisher:
        seeder = await publisher.add(reel)
        with trio.fail_after(WAIT_S):
            while not {dead, live} <= set(seeder.statistics().trackers):  # noqa: ASYNC110  (no event to wait for)
                await trio.sleep(0.05)
        assert seeder.statistics().trackers[live] is None
        assert seeder.statistics().trackers[dead]
        async with open_session(LOOPBACK) as mirror:
            torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror", trackers=(dead, live)))
            assert await torrent.read(5, 10, deadline_s=WAIT_S) == DATA[5:15]
    assert list(tracker.swarms) == [reel.infohash]
    with trio.fail_after(WAIT_S):
        while tracker.swarms[reel.infohash]:  # noqa: ASYNC110  (both say goodbye; the server's thread lags behind)
            await trio.sleep(0.05)


class Rude(Tracker):
    """Refuses, in bytes that are no text, and in many."""

    def do_GET(self):
        body = bencode({b"failure reason": b"\xff\xfe no" * 1000})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


async def test_a_tracker_that_says_no_in_no_text_ends_no_session(tracker, tmp_path):
    tracker.RequestHandlerClass = Rude
    url = f"http://127.0.0.1:{tracker.server_address[1]}/announce"
    async with open_session(dataclasses.replace(LOOPBACK, trackers=(url,))) as publisher:
        seeder = await publisher.add(make_reel(tmp_path / "publisher", DATA))
        with trio.fail_after(WAIT_S):
            while not (said := seeder.statistics().trackers.get(url)):  # noqa: ASYNC110  (no event to wait for)
                await trio.sleep(0.05)
        assert len(said) <= 1024
        await publisher.refresh()


async def test_those_who_say_one_name_meet_once_for_all_their_reels(tracker, tmp_path):
    url = f"http://127.0.0.1:{tracker.server_address[1]}/announce"
    reels = [
        dataclasses.replace(
            make_reel(tmp_path / "publisher", data, f"{n}" * 64 + ".reel"), is_quiet=True, trackers=(url,)
        )
        for n, data in enumerate((DATA, content(1 << 17, 2), content(1 << 17, 3)))
    ]
    async with open_session(LOOPBACK) as publisher, open_session(LOOPBACK) as mirror:
        publisher.doors.open("a collection", (url,), tmp_path)
        for reel in reels:
            await publisher.add(reel)
        with trio.fail_after(WAIT_S):
            while door_of("a collection") not in tracker.swarms:  # noqa: ASYNC110  (no event to wait for)
                await trio.sleep(0.05)
        # What is whole was announced nowhere, and is found all the same.
        assert set(tracker.swarms) == {door_of("a collection")}
        mirror.doors.open("a collection", (url,), tmp_path)
        mirror.doors.open("a collection", (url,), tmp_path)
        for reel in reels:
            there = at_mirror(reel, tmp_path / "mirror", is_quiet=True)
            torrent = await mirror.add(there)
            await torrent.fetch_all(stall_s=WAIT_S)
            assert there.path.read_bytes() == reel.path.read_bytes()


async def test_a_quiet_reel_is_announced_only_while_it_is_missed_and_nobody_is_there(tracker, tmp_path, monkeypatch):
    monkeypatch.setattr(announcing, "LONELY_S", 0.1)
    url = f"http://127.0.0.1:{tracker.server_address[1]}/announce"
    reel = make_reel(tmp_path / "publisher", DATA)
    async with open_session(LOOPBACK) as publisher, open_session(LOOPBACK) as mirror:
        there = at_mirror(reel, tmp_path / "mirror", is_quiet=True, trackers=(url,))
        torrent = await mirror.add(there)
        assert not torrent.link.handle.trackers()
        with trio.fail_after(WAIT_S):
            while there.infohash not in tracker.swarms:  # noqa: ASYNC110  (no event to wait for)
                await trio.sleep(0.05)
        await publisher.add(reel)
        torrent.add_peer("127.0.0.1", publisher.port)
        await torrent.fetch_all(stall_s=WAIT_S)
        with trio.fail_after(WAIT_S):
            while torrent.link.handle.trackers():  # noqa: ASYNC110  (no event to wait for)
                await trio.sleep(0.05)
        assert torrent.link.handle.flags() & UNTOLD == UNTOLD


async def test_a_door_dials_nobody_whom_the_user_named_as_he_is_known_without():
    options = SwarmOptions(peers=(("127.0.0.1", 9),))
    assert door_params("a collection", ("http://127.0.0.1:9/announce",), options).peers == []
