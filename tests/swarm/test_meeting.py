# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that are up meet, whatever became of earlier tries. Nothing here waits for a time: dials are counted."""

from __future__ import annotations

import dataclasses
import os
from contextlib import asynccontextmanager

import pytest
import trio
from loopback import LOOPBACK, PIECE, at_mirror, content, make_reel
from rude_peers import PROTOCOL, Reader, garbage, relay, server
from waiting import WAIT_S

from gtfs.metainfo import info_of
from gtfs.swarm.session import open_session

pytestmark = pytest.mark.trio

TRIES = 3  # after which libtorrent gives a peer up
APART_S = 1.25  # two dials further apart than this are not in step with a peer that waits for a second


@pytest.fixture
def reel(tmp_path):
    return make_reel(tmp_path / "publisher", content(8 * PIECE))


class Late:
    """A peer that talks nonsense the first ``tries`` times, and is a good one from then on."""

    def __init__(self, tries: int, port: int) -> None:
        self._tries = tries
        self._port = port

    async def serve(self, stream: trio.SocketStream) -> None:
        if self._tries:
            self._tries -= 1
            await garbage()(stream)
        else:
            await relay(stream, await trio.open_tcp_stream("127.0.0.1", self._port))


@asynccontextmanager
async def knowing_late_one(publisher, **options):
    """A session that knows the publisher as a peer that is bad at first, beside ``peers``."""
    async with server(Late(TRIES, publisher.port).serve) as port:
        peers = (("127.0.0.1", port), *options.pop("peers", ()))
        async with open_session(dataclasses.replace(LOOPBACK, peers=peers, **options)) as session:
            yield session


async def test_a_peer_that_failed_often_is_dialled_again_although_another_is_there(reel, tmp_path):
    """The other is a mirror that has nothing either."""
    async with open_session(LOOPBACK) as publisher, open_session(LOOPBACK) as other:
        await publisher.add(reel)
        await other.add(at_mirror(reel, tmp_path / "other"))
        async with knowing_late_one(publisher, peers=(("127.0.0.1", other.port),), pex=False) as session:
            torrent = await session.add(at_mirror(reel, tmp_path / "mirror"))
            assert await torrent.read(0, reel.size, deadline_s=WAIT_S) == reel.path.read_bytes()


async def test_metadata_is_learnt_from_a_peer_that_failed_often(reel, tmp_path):
    async with open_session(LOOPBACK) as publisher:
        await publisher.add(reel)
        async with knowing_late_one(publisher) as session:
            info = await session.learn_info(reel.infohash, tmp_path / "staging", deadline_s=WAIT_S)
    assert info == info_of(reel.metainfo.read_bytes())


async def test_who_dials_a_peer_whenever_it_dials_does_not_stay_in_step_with_it(reel, tmp_path):
    """Two libtorrents that dial each other at once both hang up, and would dial again a second later, for ever.

    The peer hangs up on every dial that is in step with it, and is met by the first that is not.
    """
    is_met = trio.Event()
    last_s = trio.current_time()

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal last_s
        now_s, before_s = trio.current_time(), last_s
        last_s = now_s
        if now_s > before_s + APART_S:
            is_met.set()
            return
        hello = await Reader(stream).take(68)
        await stream.send_all(PROTOCOL + bytes(8) + hello[28:48] + b"-gt0000-" + os.urandom(12))
        await stream.aclose()

    async with server(serve) as peer, open_session(LOOPBACK) as session:
        torrent = await session.add(at_mirror(reel, tmp_path))
        last_s = trio.current_time()
        torrent.add_peer("127.0.0.1", peer)
        with trio.fail_after(WAIT_S):
            await is_met.wait()
