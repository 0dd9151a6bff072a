# SPDX-License-Identifier: GPL-3.0-or-later
"""What the silence of a bell is worth: nothing, as long as nobody could have been heard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from loopback import LOOPBACK
from waiting import WAIT_S

from gtfs.layout import Layout
from gtfs.node.bell import Bell, BellTold
from gtfs.state.bell import make_bell
from gtfs.state.feedkey import FeedKey, make_feed_key
from gtfs.swarm.session import Session, open_session

pytestmark = pytest.mark.trio


@dataclass
class Owner:
    """Of a repository that is at a version."""

    layout: Layout
    key: FeedKey
    version: int = 1

    def told(self) -> BellTold:
        return BellTold("demo", self.version, make_bell(self.key, "demo", self.version)[1])

    def is_publisher(self) -> bool:
        return self.layout.bell_key.exists()


@contextlib.asynccontextmanager
async def three_sessions() -> AsyncIterator[list[Session]]:
    """Each knows those before it."""
    async with contextlib.AsyncExitStack() as stack:
        found: list[Session] = []
        for _ in range(3):
            peers = tuple(("127.0.0.1", session.port) for session in found)
            found.append(await stack.enter_async_context(open_session(replace(LOOPBACK, peers=peers))))
        yield found


async def until(is_so: Callable[[], object]) -> None:
    with trio.fail_after(WAIT_S):
        while not is_so():  # noqa: ASYNC110  nobody reports it
            await trio.sleep(0.02)


async def test_a_peer_says_by_its_silence_that_nothing_is_new_only_where_it_could_be_heard(tmp_path: Path) -> None:
    for name in ("other", "mirror", "publisher"):
        (tmp_path / name).mkdir()
    key = make_feed_key(Layout(tmp_path / "publisher").bell_key)
    async with three_sessions() as sessions, trio.open_nursery() as nursery:
        owners = [Owner(Layout(tmp_path / name), key) for name in ("other", "mirror", "publisher")]
        other, mirror, publisher = (Bell(o, s, lambda: None) for o, s in zip(owners, sessions, strict=True))
        nursery.start_soon(other.run_task)
        nursery.start_soon(mirror.run_task)
        await until(lambda: mirror.status()["peers"] and other.status()["peers"])
        assert not mirror.is_silent_after(1)  # nobody knows what the publisher's pieces would be
        nursery.start_soon(publisher.run_task)
        await until(lambda: mirror.is_silent_after(1) and other.is_silent_after(1))
        owners[-1].version = 2
        publisher.renew()
        await until(lambda: mirror.status()["heard"] == 2)
        assert not mirror.is_silent_after(1)  # its feed is behind: no reason to ask less
        await until(lambda: mirror.is_silent_after(2))
        nursery.cancel_scope.cancel()
    assert not mirror.is_silent_after(2)  # nobody listens


async def test_a_bell_that_is_over_leaves_the_session_with_all_that_lay_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "publisher").mkdir()
    owner = Owner(Layout(tmp_path / "publisher"), make_feed_key(Layout(tmp_path / "publisher").bell_key))
    async with open_session(LOOPBACK) as session:
        bell = Bell(owner, session, lambda: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.run_task)
            await until(lambda: bell._listened is not None)
            assert len(session.torrents()) == 1
            nursery.cancel_scope.cancel()
        await bell.leave()
        assert not session.torrents()
