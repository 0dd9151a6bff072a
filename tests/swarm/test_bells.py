# SPDX-License-Identifier: GPL-3.0-or-later
"""A torrent that tells: who listens hears of a piece as soon as it is there, from whoever has it."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import trio
from loopback import LOOPBACK, PIECE, at_mirror, content, make_reel
from waiting import WAIT_S

from gtfs.swarm.bells import hear, ring
from gtfs.swarm.session import open_session

pytestmark = pytest.mark.trio

PIECES = 6
DATA = content(PIECES * PIECE)


def piece(number: int) -> bytes:
    return DATA[number * PIECE : (number + 1) * PIECE]


@pytest.fixture
async def torrents(tmp_path):
    """The bell at its publisher, who has nothing of it yet, and at mirrors in a row: each knows the one before."""
    made = make_reel(tmp_path / "made", DATA)
    async with contextlib.AsyncExitStack() as stack:
        found = []
        known = LOOPBACK
        for number in range(4):
            session = await stack.enter_async_context(open_session(known))
            spec = at_mirror(made, tmp_path / str(number), awaited=True)
            if number == 0:
                spec.metainfo.write_bytes(made.metainfo.read_bytes())
            found.append(await session.add(spec))
            known = dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", session.port),), pex=False)
        yield found


async def next_of(pieces) -> int:
    with trio.fail_after(WAIT_S):
        return await anext(pieces)


async def test_everybody_hears_of_a_piece_once_it_is_there(torrents) -> None:
    publisher, *mirrors = torrents
    await publisher.wait_metadata(WAIT_S)
    async with contextlib.AsyncExitStack() as stack, trio.open_nursery() as nursery:
        own = await stack.enter_async_context(contextlib.aclosing(hear(publisher, 1)))
        nursery.start_soon(anext, own)  # it takes part as they do, or nobody would stay connected to it
        heard = [await stack.enter_async_context(contextlib.aclosing(hear(mirror, 1))) for mirror in mirrors]
        for number in (1, 2, 4):
            ring(publisher, number, piece(number))
            assert [await next_of(pieces) for pieces in heard] == [number] * len(mirrors)
        assert all(mirror.board.count_here() == 3 for mirror in mirrors)
        nursery.cancel_scope.cancel()


async def test_who_comes_late_hears_of_the_last_piece_alone(torrents) -> None:
    publisher, mirror, *_ = torrents
    await publisher.wait_metadata(WAIT_S)
    for number in (0, 1, 3):
        ring(publisher, number, piece(number))
    with trio.fail_after(WAIT_S):
        while publisher.board.count_here() < 3:
            await publisher.board.wait_change()
    async with contextlib.aclosing(hear(mirror, 3)) as pieces:
        assert await next_of(pieces) == 3
    assert mirror.board.count_here() == 1


async def test_a_piece_of_nobody_s_making_tells_nothing(torrents) -> None:
    publisher, mirror, *_ = torrents
    await publisher.wait_metadata(WAIT_S)
    async with contextlib.aclosing(hear(mirror, 0)) as pieces:
        ring(publisher, 0, bytes(PIECE))
        ring(publisher, 1, piece(1))
        assert await next_of(pieces) == 1
    assert not mirror.board.is_here(0) and not publisher.board.is_here(0)
