# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that share a session: what one has in it leaves with it, and what two had stays with the other."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from keys import shared_keys
from waiting import WAIT_S

from gtfs.ids import SHA1
from gtfs.node.dhtfeed import make_address
from gtfs.node.node import Node, open_node
from gtfs.node.options import NodeOptions
from gtfs.repo.repository import create_repository, open_repository
from gtfs.state.initialise import initialise
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.swarm.session import Session, open_session
from gtfs.swarm.settings import SwarmOptions

LOOPBACK = SwarmOptions(listen="127.0.0.1:0")


def publisher(path: Path, text: str) -> Path:
    repository = create_repository(path, SHA1)
    commit = "commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 1\nx\nM 100644 inline f\n"
    stream = f"{commit}data {len(text)}\n{text}\n".encode()
    subprocess.run(["git", "-C", str(path), "fast-import", "--quiet"], input=stream, check=True)
    keys = shared_keys()
    with State(repository) as state:
        initialise(state, path.stem, keys["alice"], str(keys.home))
        make_address(repository)
        publish_now(state)
    return path


@pytest.fixture
def pub(tmp_path: Path) -> Path:
    return publisher(tmp_path / "pub.git", "pub")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return publisher(tmp_path / "other.git", "other")


@pytest.fixture
def copy(pub: Path, tmp_path: Path) -> Iterator[Path]:
    """Another place of the same reel, and of all else."""
    path = tmp_path / "copy.git"
    shutil.copytree(pub, path)
    yield path


@asynccontextmanager
async def running(path: Path, session: Session) -> AsyncIterator[Node]:
    with State(open_repository(path)) as state:
        async with open_node(state, NodeOptions(swarm=LOOPBACK), session) as node, trio.open_nursery() as nursery:
            await nursery.start(node.run_task)
            yield node
            nursery.cancel_scope.cancel()


def places(session: Session, path: Path) -> set[str]:
    """Where below a repository there are files of torrents."""
    below = [torrent.spec.directory for torrent in session.torrents() if torrent.spec.directory.is_relative_to(path)]
    return {directory.relative_to(path / "gtfs").parts[0] for directory in below}


async def until(is_so: Callable[[], object]) -> None:
    with trio.fail_after(WAIT_S):
        while not is_so():  # noqa: ASYNC110  nobody reports it
            await trio.sleep(0.02)


ALL = {"reels", "bells", "pointed"}


@pytest.mark.parametrize("is_whole_to_end", [False, True])
def test_what_a_node_has_in_a_session_leaves_with_it_unless_the_whole_ends(
    pub: Path, other: Path, is_whole_to_end: bool
) -> None:
    async def main() -> None:
        async with open_session(LOOPBACK) as session, running(other, session):
            async with running(pub, session):
                await until(lambda: places(session, pub) == places(session, other) == ALL)
                session.is_ending = is_whole_to_end
            # A session that ends takes all out by itself.
            assert places(session, pub) == ({"reels", "pointed", "bells"} if is_whole_to_end else set())
            assert places(session, other) == ALL
            session.is_ending = False

    trio.run(main)


def test_a_node_that_was_cancelled_has_left_all_the_same(pub: Path) -> None:
    async def main() -> None:
        async with open_session(LOOPBACK) as session:
            with trio.CancelScope() as scope:
                async with running(pub, session):
                    await until(lambda: places(session, pub) == ALL)
                    scope.cancel()
                    await trio.sleep_forever()
            assert not session.torrents()

    trio.run(main)


def test_one_that_cannot_be_opened_to_the_end_leaves_nothing_in_it(pub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with open_session(LOOPBACK) as session:
            with contextlib.suppress(ZeroDivisionError), State(open_repository(pub)) as state:
                async with open_node(state, NodeOptions(swarm=LOOPBACK), session):
                    assert session.torrents()
                    raise ZeroDivisionError
            assert not session.torrents()

    trio.run(main)


def test_what_lay_in_its_place_comes_into_the_swarm_from_the_place_of_the_other(pub: Path, copy: Path) -> None:
    async def main() -> None:
        async with open_session(LOOPBACK) as session, trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def run_first() -> None:
                with scope:
                    async with running(pub, session):
                        await trio.sleep_forever()

            nursery.start_soon(run_first)
            await until(lambda: places(session, pub) == ALL)
            async with running(copy, session) as node:
                assert places(session, copy) == set()
                await until(lambda: node.bell._listened is not None)
                scope.cancel()
                await until(lambda: {"reels", "bells"} <= places(session, copy))
                await until(lambda: places(session, pub) == set())
                (torrent,) = node.reel_torrents.torrents()
                await until(torrent.is_complete)
            assert not session.torrents()

    trio.run(main)


def test_who_leaves_first_takes_nothing_of_the_other_with_him(pub: Path, copy: Path) -> None:
    async def main() -> None:
        async with open_session(LOOPBACK) as session, running(pub, session) as node:
            await until(lambda: places(session, pub) == ALL)
            there = session.torrents()
            async with running(copy, session) as second:
                await until(lambda: second.bell._listened is not None)
            assert session.torrents() == there
            assert all(torrent.failure is None for torrent in there)
            assert node.bell._listened is not None

    trio.run(main)
