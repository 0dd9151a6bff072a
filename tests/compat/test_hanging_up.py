# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asked a node for something hangs up, or the disk fails: what is held by then is followed to the end."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from keys import shared_keys
from mirrored import fetch, listed, take_catalogue
from onefile import Publisher, SlowSwarm
from waiting import WAIT_S

from gtfs.catalogue.accept import FirstTrust
from gtfs.feed import parse_feed
from gtfs.ingest.refmoves import RefReport
from gtfs.node import follow, reeltorrents
from gtfs.node.follow import Follower
from gtfs.node.node import Node, open_node
from gtfs.node.options import NodeOptions
from gtfs.node.reelfetches import ReelFetches
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.node.sync import FOLLOWED
from gtfs.reel.index import ReelRow
from gtfs.repo.repository import Repository
from gtfs.repo.work import Work
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.swarm.session import Session
from gtfs.trust.sign import Signer
from gtfs.view.news import News
from gtfs.view.writing import Writing

pytestmark = pytest.mark.trio


@pytest.fixture
def pub(tmp_path) -> Publisher:
    return Publisher(tmp_path)


@pytest.fixture
def origin(pub: Publisher) -> Iterator[State]:
    with State(pub.repository) as state:
        pub.publish(state)
        yield state


@pytest.fixture
def state(mirror: Repository, origin: State) -> Iterator[State]:
    """A mirror that has all of it."""
    with State(mirror) as state:
        assert origin.held is not None
        take_catalogue(state, origin.held)
        fetch(state, origin)
        state.index.meta.set(FOLLOWED, str(origin.held.catalogue.version))
        yield state


@asynccontextmanager
async def open_swarming(state: State) -> AsyncIterator[tuple[Node, SlowSwarm]]:
    """A node, with all that it has in a swarm."""
    first = FirstTrust(frozenset({shared_keys()["alice"]}))
    async with open_node(state, NodeOptions(offline=True), first=first) as node:
        swarm = SlowSwarm()
        node.reel_torrents._session = cast(Session, swarm)
        await node.reel_torrents.update()
        yield node, swarm


async def hang_up_once_held(node: Node, ask: Callable[[], Awaitable[object]]) -> None:
    """Ask for what holds another catalogue, while somebody else changes the swarm; hang up as soon as it is held."""
    before = node.state.held
    async with trio.open_nursery() as nursery, node.reel_torrents._one:
        nursery.start_soon(ask)
        with trio.fail_after(WAIT_S):
            while not node.reel_torrents._one.statistics().tasks_waiting:  # noqa: ASYNC110  # nobody reports it
                await trio.sleep(0.01)
        assert node.state.held is not before
        nursery.cancel_scope.cancel()


def is_in_swarm(state: State, swarm: SlowSwarm) -> bool:
    return {f"{name}.reel" for name in listed(state)} <= swarm.names


def tell_nobody(_progress: dict[str, Any]) -> None:
    pass


async def test_reels_of_a_publish_are_seeded_though_who_asked_for_it_hangs_up(pub: Publisher, origin: State) -> None:
    async with open_swarming(origin) as (node, swarm):
        pub.commit()
        drawn = await node.publishing.asked_draft({}, tell_nobody)
        document = Signer(shared_keys()["alice"], shared_keys().home).clearsign(drawn["text"]).decode()
        request = {"document": document, "draft": drawn["draft"]}
        await hang_up_once_held(node, lambda: node.publishing.asked_place(request, tell_nobody))
        assert is_in_swarm(origin, swarm)


async def test_a_catalogue_is_followed_though_who_asked_for_it_hangs_up(
    pub: Publisher, origin: State, state: State
) -> None:
    async with open_swarming(state) as (node, swarm):
        pub.publish(origin)
        assert origin.held is not None
        document, wanted = origin.held.document, node.news.wanted.number
        await hang_up_once_held(node, lambda: node._take_catalogue(document))
        assert is_in_swarm(state, swarm)
        assert node.keep_up.is_whole and node.news.wanted.number > wanted


async def test_a_catalogue_is_followed_though_the_swarm_cannot_have_its_reels_yet(
    pub: Publisher, origin: State, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_swarming(state) as (node, swarm):
        pub.publish(origin)
        assert origin.held is not None
        wanted = node.news.wanted.number

        async def fail(_self: ReelTorrents) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(ReelTorrents, "update", fail)
            await node._take_catalogue(origin.held.document)
        assert node.keep_up.is_whole and node.news.wanted.number > wanted
        await node.reel_torrents.make()  # as whoever waits for that number does first
        assert is_in_swarm(state, swarm)


async def test_superseded_reels_that_could_not_be_dropped_are_dropped_the_next_time(
    pub: Publisher, origin: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_swarming(origin) as (node, swarm):
        while not origin._superseded:
            pub.commit()
            publish_now(origin, Work(jobs=1))
        names = {row.name for row in origin._superseded}

        def fail(_self: State, _reels: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(State, "drop_superseded", fail)
            with pytest.raises(OSError, match="No space left"):
                await node.reel_torrents.update()
        await node.reel_torrents.update()
        assert names.isdisjoint(row.name for row in origin.index.reels.all())
        assert is_in_swarm(origin, swarm)


async def test_a_reel_that_was_taken_out_to_be_made_comes_back_though_who_asked_hangs_up(
    origin: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_swarming(origin) as (node, swarm):
        row = origin.index.reels.all()[0]
        scope = trio.CancelScope()

        def hang_up(_state: State, _row: ReelRow, _packs: object) -> bool:
            assert f"{row.name}.reel" not in swarm.names
            trio.from_thread.run_sync(scope.cancel)
            return True

        monkeypatch.setattr(reeltorrents, "make_whole", hang_up)
        with scope:
            await node.reel_torrents.make((row, ()))
        assert is_in_swarm(origin, swarm)


async def test_hooks_hear_of_refs_that_moved_though_who_asked_for_it_hangs_up(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_swarming(state) as (node, _):
        scope, heard = trio.CancelScope(), node.news.followed.number

        def move_refs(_state: State) -> RefReport:
            trio.from_thread.run_sync(scope.cancel)
            return RefReport(1, {})

        monkeypatch.setattr(follow, "move_refs", move_refs)
        with scope:
            await node.follower.move_refs()
        assert scope.cancelled_caught
        assert node.news.followed.number == heard + 1


@pytest.mark.parametrize("trouble", [None, OSError(errno.ENOSPC, "No space left on device")])
async def test_git_gives_again_what_it_has_of_a_reel_if_it_did_not_come_to_its_end(
    state: State, trouble: OSError | None
) -> None:
    scope = trio.CancelScope()
    filled = []

    class Reels:
        def is_wanted(self, _row: ReelRow) -> bool:
            return True

        has_table = is_wanted

        async def fill(self, row: ReelRow) -> int:
            filled.append(row.name)
            if len(filled) == 1 and trouble is not None:
                raise trouble
            scope.cancel()  # it ends early then
            return 0

    reels = Reels()
    fetches = cast(ReelFetches, SimpleNamespace(reel_torrents=reels, fill=reels.fill))
    follower = Follower(state, fetches, Writing(News(state.index)), FirstTrust())
    rows = state.index.reels.all()
    if trouble is not None:
        with pytest.raises(OSError, match="No space left"):
            await follower._fill(rows)
    with scope:
        await follower._fill(rows)
    await follower._fill(rows)
    await follower._fill(rows)
    assert filled == [rows[0].name] * (2 if trouble is None else 3)


async def test_settings_that_were_written_are_acted_on_though_who_asked_hangs_up(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_swarming(state) as (node, _):
        scope = trio.CancelScope()

        def answer_init(of: State, _request: object) -> dict[str, Any]:
            of.config.set("source", "/feed/latest.asc")
            trio.from_thread.run_sync(scope.cancel)
            return {}

        monkeypatch.setattr("gtfs.node.node.answer_init", answer_init)
        with scope:
            await node._asked_init({}, tell_nobody)
        assert parse_feed("/feed/latest.asc") in node.poller.feeds
