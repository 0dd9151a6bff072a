# SPDX-License-Identifier: GPL-3.0-or-later
"""A swarm among rude peers, without a publisher, and in a rush."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
from functools import partial

import pytest
import trio
from loopback import LOOPBACK, PIECE, at_mirror, content, make_info, make_reel
from ports import free_port
from rude_peers import claims_all, garbage, server
from waiting import WAIT_S

from gtfs.swarm.adding import plan_add
from gtfs.swarm.alerts import HashFailed
from gtfs.swarm.amnesty import FIRST_S, LAST_S, TRICKLE_S, _Patience
from gtfs.swarm.dialling import Dialling
from gtfs.swarm.peers import local_endpoint
from gtfs.swarm.pieces import SwarmTimeout
from gtfs.swarm.session import Session, open_session
from gtfs.swarm.torrents import Torrent

pytestmark = pytest.mark.trio

DATA = content(3 * (1 << 20) + 12345)
PIECES = -(-len(DATA) // PIECE)
RUDE = ["chokes", "silent", "noise", "endless", "metadata"]
CROWD = int(os.environ.get("GTFS_CROWD", "8"))  # contrib/bench/swarm -n 50 has more, with whole programs


@pytest.fixture
def reel(tmp_path):
    return make_reel(tmp_path / "publisher", DATA)


def rude(what, reel):
    return garbage() if what == "garbage" else claims_all(PIECES, what, len(make_info(reel.file_name, DATA)))


def among(*ports, **more):
    return dataclasses.replace(LOOPBACK, peers=tuple(("127.0.0.1", port) for port in ports), **more)


@pytest.mark.parametrize("what", ["garbage", *RUDE])
async def test_a_rude_peer_does_not_keep_a_good_one_from_giving_everything(reel, tmp_path, what):
    async with server(rude(what, reel)) as bad, open_session(LOOPBACK) as origin:
        async with open_session(among(bad)) as mirror:
            torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
            with pytest.raises(SwarmTimeout):
                await torrent.wait_metadata(1)  # it is there first, and all there is
            await origin.add(reel)
            torrent.add_peer("127.0.0.1", origin.port)
            await torrent.fetch_all(stall_s=WAIT_S)
        assert torrent.spec.path.read_bytes() == DATA


async def test_rude_peers_together_do_not_either(reel, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        bad = [await stack.enter_async_context(server(rude(what, reel))) for what in ["garbage", *RUDE, "noise"]]
        origin = await stack.enter_async_context(open_session(LOOPBACK))
        await origin.add(reel)
        mirror = await stack.enter_async_context(open_session(among(*bad, origin.port)))
        torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
        await torrent.fetch_all(stall_s=WAIT_S)
    assert torrent.spec.path.read_bytes() == DATA


async def test_the_only_good_peer_is_not_banned_for_ever(reel, tmp_path, monkeypatch):
    async with open_session(LOOPBACK) as origin, open_session(among(origin.port)) as mirror:

        def plan_with_a_ban(spec, options):
            plan = plan_add(spec, options)
            plan.params.banned_peers = [("127.0.0.1", origin.port)]
            return plan

        await origin.add(reel)
        another = make_reel(tmp_path / "publisher", DATA[:PIECE], "b" * 64 + ".reel")
        await origin.add(another)
        neighbour = await mirror.add(at_mirror(another, tmp_path / "mirror"))
        await neighbour.fetch_all(stall_s=WAIT_S)
        (was,) = (local_endpoint(peer) for peer in neighbour.link.handle.get_peer_info())
        spec = at_mirror(reel, tmp_path / "mirror")
        shutil.copy(reel.metainfo, spec.metainfo)  # who is banned gives no metadata
        monkeypatch.setattr("gtfs.swarm.session.plan_add", plan_with_a_ban)
        torrent = await mirror.add(spec)
        await torrent.wait_metadata(WAIT_S)
        assert await torrent.questions.ask_banned() == (("127.0.0.1", origin.port),)
        with pytest.raises(SwarmTimeout):
            await torrent.fetch_all(stall_s=4)  # nobody lied, so no ban is lifted
        torrent.reports.on_event(HashFailed(spec.infohash, 0))
        await torrent.fetch_all(stall_s=WAIT_S)
        assert await torrent.questions.ask_banned() == ()
        # The same peer's connection in another torrent is the one it was.
        assert [local_endpoint(peer) for peer in neighbour.link.handle.get_peer_info()] == [was]
    assert spec.path.read_bytes() == DATA


async def test_bans_are_lifted_only_while_nothing_comes_and_ever_more_rarely():
    def times(held, downloaded):
        patience = _Patience(0)
        return [now / 2 for now in range(600) if patience.has_ended(held(now / 2), downloaded(now / 2), now / 2)]

    assert times(lambda now_s: int(now_s), lambda now_s: 0) == []
    nothing = times(lambda now_s: 7, lambda now_s: 7)
    assert nothing[0] == FIRST_S
    gaps = [after - before for before, after in itertools.pairwise(nothing)]
    assert gaps == sorted(gaps) and gaps[-1] == LAST_S
    # Bytes of which no piece comes are a liar's.
    assert times(lambda now_s: 7, lambda now_s: int(2 * now_s))[0] == TRICKLE_S
    # A piece that came of it makes the next wait a short one.
    once = times(lambda now_s: now_s >= 100, lambda now_s: 7)
    assert next(now_s for now_s in once if now_s > 100) == 100 + FIRST_S


async def test_liars_who_are_many_do_not_win(reel, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        bad = [await stack.enter_async_context(server(rude("noise", reel))) for _ in range(8)]
        origin = await stack.enter_async_context(open_session(LOOPBACK))
        await origin.add(reel)
        mirror = await stack.enter_async_context(open_session(among(*bad, origin.port)))
        torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
        await torrent.fetch_all(stall_s=WAIT_S)
    assert torrent.spec.path.read_bytes() == DATA


async def test_two_halves_make_a_whole(reel, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        origin = await stack.enter_async_context(open_session(LOOPBACK))
        await origin.add(reel)
        halves, ports = [], []
        for n, (start, end) in enumerate([(0, PIECES // 2 * PIECE), (PIECES // 2 * PIECE, len(DATA))]):
            session = await stack.enter_async_context(open_session(among(origin.port, pex=False)))
            half = await session.add(at_mirror(reel, tmp_path / f"half{n}"))
            await half.read(start, end - start, deadline_s=WAIT_S)
            halves.append(half)
            ports.append(session.port)
        await origin.remove(reel.infohash)
        assert not any(half.is_complete() for half in halves)
        third = await stack.enter_async_context(open_session(among(*ports)))
        torrent = await third.add(at_mirror(reel, tmp_path / "third"))
        await torrent.fetch_all(stall_s=WAIT_S)
        assert torrent.spec.path.read_bytes() == DATA
        # And the halves become whole by way of each other.
        halves[0].add_peer("127.0.0.1", ports[1])
        for half in halves:
            await half.fetch_all(stall_s=WAIT_S)


async def test_a_peer_that_was_away_for_long_is_dialled_again(reel, tmp_path, monkeypatch):
    dials = 0
    often = trio.Event()
    tell = Dialling.tell

    def counted(dialling, torrent):
        nonlocal dials
        dials += 1
        if dials == 12:  # libtorrent by itself gives up after three failures, in seven seconds
            often.set()
        tell(dialling, torrent)

    monkeypatch.setattr(Dialling, "tell", counted)
    port = free_port()
    async with open_session(among(port)) as mirror:
        torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
        with trio.fail_after(WAIT_S):
            await often.wait()
        async with open_session(among(listen=f"127.0.0.1:{port}")) as origin:
            await origin.add(reel)
            assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]


async def test_what_no_peer_has_ends_in_a_clear_error_and_what_came_stays(reel, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        origin = await stack.enter_async_context(open_session(LOOPBACK))
        await origin.add(reel)
        session = await stack.enter_async_context(open_session(among(origin.port)))
        half = await session.add(at_mirror(reel, tmp_path / "half"))
        await half.read(0, len(DATA) // 2, deadline_s=WAIT_S)
        await origin.remove(reel.infohash)
        other = await stack.enter_async_context(open_session(among(session.port)))
        torrent = await other.add(at_mirror(reel, tmp_path / "other"))
        await torrent.read(0, len(DATA) // 2, deadline_s=WAIT_S)
        with pytest.raises(SwarmTimeout, match=r"nothing came for 3 s, \d+ of 3158073 bytes are here"):
            await torrent.fetch_all(stall_s=3)
        assert torrent.local_bytes() == half.local_bytes()


async def test_all_mirrors_finish_though_the_publisher_is_gone_once_its_pieces_are_spread(reel, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        # Slow enough to be caught with every piece given and no mirror whole.
        origin = await stack.enter_async_context(open_session(among(upload_rate=1 << 20)))
        seeder = await origin.add(reel)
        mirrors: list[tuple[Session, Torrent]] = []
        for n in range(4):
            known = [session.port for session, _ in mirrors]
            session = await stack.enter_async_context(open_session(among(origin.port, *known)))
            mirrors.append((session, await session.add(at_mirror(reel, tmp_path / f"m{n}"))))
        torrents = [torrent for _, torrent in mirrors]
        async with trio.open_nursery() as nursery:
            for torrent in torrents:
                nursery.start_soon(partial(torrent.fetch_all, stall_s=WAIT_S))
            with trio.fail_after(WAIT_S):
                while not all(any(t.board.is_here(p) for t in torrents) for p in range(PIECES)):  # noqa: ASYNC110
                    await trio.sleep(0.01)  # four boards have no common event
            given = (await seeder.refresh()).uploaded_bytes
            await origin.remove(reel.infohash)
        assert given < 3 * len(DATA)  # they also gave to each other
        for torrent in torrents:
            assert torrent.spec.path.read_bytes() == DATA


async def test_a_crowd_that_comes_at_once_is_served(reel, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        origin = await stack.enter_async_context(open_session(LOOPBACK))
        seeder = await origin.add(reel)
        crowd = [await stack.enter_async_context(open_session(among(origin.port))) for _ in range(CROWD)]

        async def join(n):
            torrent = await crowd[n].add(at_mirror(reel, tmp_path / f"m{n}"))
            await torrent.fetch_all(stall_s=WAIT_S)
            assert torrent.spec.path.read_bytes() == DATA

        async with trio.open_nursery() as nursery:
            for n in range(CROWD):
                nursery.start_soon(join, n)
        assert (await seeder.refresh()).uploaded_bytes <= CROWD * len(DATA) * 1.05
