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
