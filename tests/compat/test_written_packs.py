# SPDX-License-Identifier: GPL-3.0-or-later
"""What was handed to a node's sink: whose it is meanwhile, and what becomes of it when its parents come."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from gtfs.ids import SHA1, ObjectId, pack_name
from gtfs.node.node import Node, NodeOptions, open_node
from gtfs.repo.repository import create_repository, open_repository
from gtfs.state.state import State

Packs = list[tuple[ObjectId, bytes]]


def git(path: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(path), *args], text=True, capture_output=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Three commits in a row."""
    path = tmp_path / "origin.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    for text in "abc":
        blob = subprocess.run(
            ["git", "-C", str(path), "hash-object", "-w", "--stdin"], input=text, text=True, stdout=subprocess.PIPE
        ).stdout.strip()
        tree = subprocess.run(
            ["git", "-C", str(path), "mktree"], input=f"100644 blob {blob}\t{text}\n", text=True, stdout=subprocess.PIPE
        ).stdout.strip()
        before = ["-p", git(path, "rev-parse", "main")] if text != "a" else []
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        git(path, "update-ref", "refs/heads/main", git(path, *who, "commit-tree", "-m", text, *before, tree))
    return path


@pytest.fixture
def packs(origin: Path) -> Packs:
    """Their packs, parents first."""
    with State(open_repository(origin)) as state:
        state.take_up()
        data = state.open_reel_path.read_bytes()
        return [(row.oid, data[row.offset : row.offset + row.size]) for row in state.index.packs.open_rows()]


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Node]:
    """A node of an empty repository, without network."""
    with State(create_repository(path, SHA1)) as state:
        async with open_node(state, NodeOptions(swarm=None)) as node, trio.open_nursery() as nursery:
            await node.take_up(lambda _n: None, lambda _n, _b: None)
            await nursery.start(node.run_task)
            yield node
            nursery.cancel_scope.cancel()


async def hand_over(node: Node, pack: tuple[ObjectId, bytes]) -> Path:
    oid, data = pack
    path = node.written.directory / pack_name(oid)
    path.write_bytes(data)
    await node.written.check(path, oid)
    await node.written.queue(path, oid)
    return path


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110  (no event for tests)
            await trio.sleep(0.02)


def is_unpacked(node: Node, oid: ObjectId) -> bool:
    row = node.state.index.packs.get(oid)
    return row is not None and row.state == "unpacked"


async def wait_waiting(node: Node, count: int) -> None:
    await until(lambda: node.written.statistics() == {"queued": 0, "waiting": count, "error": None})


def test_a_file_under_the_name_of_one_that_its_owner_removed_is_let_be(packs: Packs, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            waits = await hand_over(node, packs[1])
            await wait_waiting(node, 1)
            queued = await hand_over(node, packs[2])
            for pack, path in ((packs[1], waits), (packs[2], queued)):
                assert node.written.withdraw(pack[0])
                path.write_bytes(b"unfinished")
            await hand_over(node, packs[0])
            await until(lambda: is_unpacked(node, packs[0][0]))
            await wait_waiting(node, 0)
            assert [p.read_bytes() for p in (waits, queued)] == [b"unfinished"] * 2
            assert node.state.quarantine.refused() == []

    trio.run(main)


def test_a_file_that_is_taken_in_cannot_be_had_back(
    packs: Packs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            begun, go_on = threading.Event(), threading.Event()
            let_in = node.written._let_in

            def slow(*args):  # type: ignore[no-untyped-def]
                begun.set()
                assert go_on.wait(60)
                return let_in(*args)

            monkeypatch.setattr(node.written, "_let_in", slow)
            path = await hand_over(node, packs[0])
            await until(begun.is_set)
            assert not node.written.withdraw(packs[0][0])
            go_on.set()
            await until(lambda: is_unpacked(node, packs[0][0]) and not path.exists())

    trio.run(main)


def test_a_pack_is_its_owners_while_other_work_keeps_the_sink_waiting(packs: Packs, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            async with node._writing:
                path = await hand_over(node, packs[0])
                await trio.sleep(0.5)  # longer than a batch is gathered
                assert node.written.withdraw(packs[0][0])
                path.unlink()
            await wait_waiting(node, 0)
            assert not is_unpacked(node, packs[0][0])

    trio.run(main)


def test_what_waits_goes_on_when_plain_git_brings_the_parents(packs: Packs, tmp_path: Path, origin: Path) -> None:
    async def main() -> None:
        target = tmp_path / "target.git"
        async with running(target) as node:
            for pack in packs[1:]:
                await hand_over(node, pack)
            await wait_waiting(node, 2)
            await trio.to_thread.run_sync(git, target, "fetch", "-q", str(origin), f"{packs[0][0].hex()}:refs/heads/x")
            await until(lambda: is_unpacked(node, packs[2][0]))
            await wait_waiting(node, 0)
            assert not list(node.written.directory.iterdir())

    trio.run(main)
