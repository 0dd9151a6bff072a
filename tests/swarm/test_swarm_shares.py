# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors that fetch at the same time share the work, and nobody who does not do its part holds the others up."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil

import pytest
import trio
from loopback import LOOPBACK, PIECE, at_mirror, content, make_reel
from waiting import WAIT_S

from gtfs.swarm.peers import company, leave
from gtfs.swarm.pieces import UNWANTED
from gtfs.swarm.session import open_session
from gtfs.swarm.slots import Slots

pytestmark = pytest.mark.trio

DATA = content(96 * PIECE)
SLOW = dataclasses.replace(LOOPBACK, upload_rate=2 << 20)  # so that mirrors have something to share for a while


@pytest.fixture
def reel(tmp_path):
    return make_reel(tmp_path / "publisher", DATA)


@pytest.fixture
async def mirrors(reel, tmp_path):
    """The torrent at each of some mirrors, which are connected; of the publisher they have just heard.

    Who wants nothing dials nobody: they meet as long as each waits for its first piece, and nobody has one.
    """
    async with contextlib.AsyncExitStack() as stack:
        ports: list[int] = []
        torrents = []
        for number in range(4):
            options = dataclasses.replace(LOOPBACK, peers=tuple(("127.0.0.1", port) for port in ports))
            session = await stack.enter_async_context(open_session(options))
            spec = at_mirror(reel, tmp_path / str(number))
            shutil.copy(reel.metainfo, spec.metainfo)
            torrents.append(await session.add(spec))
            ports.append(session.port)
        with trio.fail_after(WAIT_S):
            for torrent in torrents:
                await until_met(torrent, len(torrents) - 1)
        origin = await stack.enter_async_context(open_session(SLOW))
        await origin.add(reel)
        for torrent in torrents:
            torrent.add_peer("127.0.0.1", origin.port)
        yield torrents


async def until_met(torrent, others: int) -> None:
    await torrent.wait_metadata(WAIT_S)
    while len((await company(torrent)).mirrors) < others:  # noqa: ASYNC110
        await trio.sleep(0.05)


async def test_mirrors_know_each_other_and_leave_each_other_pieces(mirrors):
    with trio.fail_after(WAIT_S):
        left: set[int] = set()
        async with trio.open_nursery() as nursery:
            for torrent in mirrors:
                nursery.start_soon(torrent.fetch_all)
            while not left:
                await trio.sleep(0.05)
                priorities = mirrors[0].board.priorities()
                left = {piece for piece in mirrors[0].board.in_window() if priorities[piece] == UNWANTED}
    for torrent in mirrors:
        assert torrent.spec.path.read_bytes() == DATA


async def test_a_mirror_that_leaves_the_publisher_breaks_its_own_connection_and_no_other(mirrors):
    torrent = mirrors[0]
    with trio.fail_after(WAIT_S):
        while not (found := await company(torrent)).seeds:  # noqa: ASYNC110
            await trio.sleep(0.05)
        (connection,) = found.seeds.values()
        await leave([connection])
        while connection in (found := await company(torrent)).seeds.values():  # noqa: ASYNC110
            await trio.sleep(0.05)
        assert len(found.mirrors) == len(mirrors) - 1
        await torrent.fetch_all()
    assert torrent.spec.path.read_bytes() == DATA


async def test_one_that_never_asks_and_one_that_goes_away_hold_nobody_up(mirrors):
    """The first only reads now and then; the second gives up when it has a third."""
    reader, quitter, *others = mirrors
    with trio.fail_after(WAIT_S):
        async with trio.open_nursery() as nursery:
            for torrent in others:
                nursery.start_soon(torrent.fetch_all)
            nursery.start_soon(quit_early, quitter)
            while not all(torrent.is_complete() for torrent in others):
                await reader.read(len(DATA) // 2, 100, deadline_s=WAIT_S)
                await trio.sleep(0.5)
    for torrent in others:
        assert torrent.spec.path.read_bytes() == DATA
    assert not reader.is_complete()
    assert await quitter.read(5, len(DATA), deadline_s=WAIT_S) == DATA[5:]


async def quit_early(torrent) -> None:
    with trio.CancelScope() as scope:
        await torrent.fetch_all(lambda here, size: scope.cancel() if here > size // 3 else None)


async def test_a_mirror_of_many_sends_to_few_at_a_time_and_all_get_everything(mirrors, monkeypatch):
    """With a limit that four mirrors exceed."""
    monkeypatch.setattr("gtfs.swarm.slots.AT_ONCE", 2)
    monkeypatch.setattr("gtfs.swarm.slots.MANY", 2)
    told: list[int] = []
    choose = Slots.choose

    def chosen(self, count: int) -> None:
        choose(self, count)
        told.append(self._limit)

    monkeypatch.setattr(Slots, "choose", chosen)
    with trio.fail_after(WAIT_S):
        async with trio.open_nursery() as nursery:
            for torrent in mirrors:
                nursery.start_soon(torrent.fetch_all)
    assert 2 in told
    for torrent in mirrors:
        assert torrent.spec.path.read_bytes() == DATA
