# SPDX-License-Identifier: GPL-3.0-or-later
"""A reel that cannot be in the swarm keeps no other one out of it; where it may be one day, it is tried again."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from gtfs.metainfo import BadMetainfo
from gtfs.node.lent import LentTorrents
from gtfs.node.nottaken import LONGEST_S, REST_S, NotTaken
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.swarm.pieces import SwarmError, SwarmTimeout
from gtfs.view.news import Count, TreeCount

ROW: Any = SimpleNamespace(id=1, name="a" * 64)


def reel_torrents() -> Any:
    reels: Any = ReelTorrents.__new__(ReelTorrents)
    reels._torrents, reels.spec, reels.is_own = {}, lambda row: row, lambda _torrent: True
    reels.not_taken, reels.lent = NotTaken(), LentTorrents()
    return reels


@pytest.mark.warns
def test_metadata_that_fit_no_reel_are_said_once_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async def add(_spec: Any) -> None:
        raise BadMetainfo("another size")

    reels = reel_torrents()
    for _ in range(2):
        trio.run(reels._enter, SimpleNamespace(add=add), ROW)
    assert [r.getMessage() for r in caplog.records] == [f"reel {ROW.name} is not in the swarm: another size"]
    assert not reels.not_taken._any.is_set()
    assert reels._torrents == {}


@pytest.mark.warns
@pytest.mark.parametrize(
    "error", [SwarmTimeout("libtorrent did not take it"), SwarmError("it is there already"), OSError("no room")]
)
def test_what_the_swarm_does_not_take_is_told_once_and_tried_again_later_and_later(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    async def add(spec: Any) -> Any:
        tries.append(trio.current_time())
        if len(tries) < 9:
            raise error
        return spec

    async def play() -> None:
        reels, session = reel_torrents(), SimpleNamespace(add=add)

        async def again() -> None:
            await reels._enter(session, ROW)
            if reels._torrents:
                nursery.cancel_scope.cancel()

        reels.update = again
        await reels._enter(session, ROW)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reels.run_task)
        assert reels._torrents == {1: ROW}

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    rests = [after - before for before, after in itertools.pairwise(tries)]
    assert rests == pytest.approx([min(REST_S * 2**n, LONGEST_S) for n in range(8)])
    assert caplog.text.count("is not in the swarm yet") == 1


@pytest.mark.warns
def test_an_error_of_the_disk_as_it_is_tried_again_ends_nothing() -> None:
    outcomes: list[Exception | None] = [OSError("a full disk"), SwarmError("there"), None]

    async def play() -> None:
        not_taken = NotTaken()

        async def again() -> None:
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome
            nursery.cancel_scope.cancel()

        not_taken.note(ROW.name, "why")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(not_taken.run_task, again)

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    assert outcomes == []


@pytest.mark.parametrize("is_busy", [True, False])
def test_packs_that_are_gone_are_told_of_before_the_swarm_has_let_go_of_their_reel(is_busy: bool) -> None:
    tree = TreeCount()

    async def play() -> None:
        reels, may_leave = reel_torrents(), trio.Event()

        async def leave(_row: Any) -> None:
            await may_leave.wait()

        async def run(_work: Any, *_args: Any) -> None:
            pass

        reels._one, reels._leave, reels._session = trio.Lock(), leave, None
        gone = [[7, 9]]
        packs = SimpleNamespace(pop_gone=lambda: gone.pop() if gone else [])
        reels._state = SimpleNamespace(
            is_followed=True, index=SimpleNamespace(packs=packs), pop_superseded=lambda: [ROW], drop_superseded=None
        )
        news = SimpleNamespace(tree=tree, changed=lambda: None, reels=Count())
        reels._writing = SimpleNamespace(news=news, run=run)
        async with trio.open_nursery() as nursery:
            if is_busy:  # reels are being made, or mended
                await reels._one.acquire()
            nursery.start_soon(reels.update)
            with trio.fail_after(60):
                await tree.wait_beyond(0)
            assert tree.gone_since(0) == [7, 9]
            assert news.reels.number == 0
            may_leave.set()
            if is_busy:
                reels._one.release()
        assert news.reels.number == 1

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    assert tree.gone_since(0) == [7, 9]
