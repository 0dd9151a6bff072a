# SPDX-License-Identifier: GPL-3.0-or-later
"""What was handed to a node's sink: whose it is meanwhile, what becomes of it when its parents come, and how often its
bytes are looked at."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from waiting import WAIT_S

from gtfs.ids import SHA1, ObjectId, pack_name
from gtfs.ingest import candidate as candidates
from gtfs.ingest import examine
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.checkobjects import _PackCheck
from gtfs.mount.handover import Handover
from gtfs.mount.incoming import IncomingFiles
from gtfs.node.node import Node, open_node
from gtfs.node.options import NodeOptions
from gtfs.pack import scan as scanning
from gtfs.pack.format import CorruptPack
from gtfs.reel.database import IndexBusy
from gtfs.repo.repository import create_repository, open_repository
from gtfs.state import completeness
from gtfs.state.state import State
from gtfs.trust.policy import PolicyRefused, Vouch
from gtfs.trust.several import Search, SignedRaw
from gtfs.view import written
from gtfs.view.judged import KeptExaminations

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
        data = state.layout.open_reel.read_bytes()
        return [(row.oid, data[row.offset : row.offset + row.size]) for row in state.index.packs.open_rows()]


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Node]:
    """A node of an empty repository, without network."""
    with State(create_repository(path, SHA1)) as state:
        async with open_node(state, NodeOptions(offline=True)) as node, trio.open_nursery() as nursery:
            await node.take_up()
            await nursery.start(node.run_task)
            yield node
            nursery.cancel_scope.cancel()


async def hand_over(node: Node, pack: tuple[ObjectId, bytes]) -> Path:
    oid, data = pack
    path = node.written.directory / pack_name(oid)
    path.write_bytes(data)
    judged = await node.written.check(path, oid)
    assert judged is not None
    node.written.queue(path, judged)
    return path


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(WAIT_S):
        while not condition():  # noqa: ASYNC110  (no event for tests)
            await trio.sleep(0.02)


def is_unpacked(node: Node, oid: ObjectId) -> bool:
    row = node.state.index.packs.get(oid)
    return row is not None and row.stage == "unpacked"


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


def test_who_waits_for_the_queue_waits_for_what_the_last_batch_lets_in_too(packs: Packs, tmp_path: Path) -> None:
    async def main() -> None:
        with State(create_repository(tmp_path / "target.git", SHA1)) as state:
            async with open_node(state, NodeOptions(offline=True)) as node, trio.open_nursery() as nursery:
                nursery.start_soon(node.written.ingest_task)  # alone, as if the task that looks again came late
                await hand_over(node, packs[1])
                await wait_waiting(node, 1)
                await hand_over(node, packs[0])
                done = await node.written.asked_drain({}, lambda _progress: None)
                assert done == {"queued": 0, "waiting": 0, "error": None}
                assert is_unpacked(node, packs[0][0]) and is_unpacked(node, packs[1][0])
                nursery.cancel_scope.cancel()

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
                assert go_on.wait(WAIT_S)
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
            async with node._writing.turn():
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


async def write_as_a_program_does(node: Node, packs: Packs) -> None:
    """Create, write, close: what the mount makes of `cp`."""
    files = IncomingFiles(node.written.directory, 1 << 30)
    intake = Handover(files, node.packs, node.written)
    for oid, data in packs:
        handle = await files.create(pack_name(oid).encode(), 0o644, writing=True)
        for at in range(0, len(data), 100):
            await files.contents.write(handle, at, data[at : at + 100])
        await intake.flush(handle)
        await intake.release(handle)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often bytes were hashed, walked through, decoded and checked."""
    counted: Counter[str] = Counter()

    def count(owner: object, name: str, what: str) -> None:
        call = getattr(owner, name)

        def counting(*args: object, **named: object) -> object:
            counted[what] += 1
            return call(*args, **named)

        monkeypatch.setattr(owner, name, counting)

    count(scanning, "_check_hashes", "hashed")
    count(scanning, "_walk", "scanned")
    for user in (examine, completeness):
        count(user, "decode", "decoded")
    count(_PackCheck, "run", "checked")
    return counted


ONCE_EACH = {"hashed": 3, "scanned": 3, "decoded": 3, "checked": 3}  # of three packs


@pytest.mark.parametrize("order", [1, -1], ids=["parents first", "parents last"])
def test_a_written_pack_is_hashed_scanned_decoded_and_checked_once(
    packs: Packs, tmp_path: Path, looks: Counter[str], order: int
) -> None:
    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            await write_as_a_program_does(node, packs[::order])
            await until(lambda: is_unpacked(node, packs[2][0]))
            assert looks == ONCE_EACH
            await wait_waiting(node, 0)
            assert not node.written._kept.held_bytes

    trio.run(main)


def test_one_that_came_when_its_parents_were_here_is_not_looked_at_again_by_the_batch(
    packs: Packs, tmp_path: Path, looks: Counter[str]
) -> None:
    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            for pack in packs:
                await write_as_a_program_does(node, [pack])
                await until(lambda oid=pack[0]: is_unpacked(node, oid))
            assert looks == ONCE_EACH

    trio.run(main)


def test_a_pack_of_a_reel_is_hashed_scanned_decoded_and_checked_once(
    packs: Packs, origin: Path, tmp_path: Path, looks: Counter[str]
) -> None:
    with State(open_repository(origin)) as state, State(create_repository(tmp_path / "target.git", SHA1)) as target:
        rows = [(row, state.layout.open_reel) for row in state.index.packs.open_rows()]
        outcome = target.ingest().run(Candidate(r.oid, p, r.offset or 0, r.size, r.digest, True) for r, p in rows)
        assert len(outcome.unpacked) == len(packs)
        assert looks == ONCE_EACH


def test_what_is_let_in_is_what_was_judged_whatever_becomes_of_the_file(packs: Packs, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            async with node._writing.turn():
                path = await hand_over(node, packs[0])
                path.write_bytes(packs[1][1])
            await until(lambda: is_unpacked(node, packs[0][0]))
            assert node.state.quarantine.refused() == []

    trio.run(main)


def test_one_that_there_was_no_room_to_keep_is_examined_from_its_file(packs: Packs, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            node.written._kept = KeptExaminations(0)
            for pack in reversed(packs):
                await hand_over(node, pack)
            await until(lambda: is_unpacked(node, packs[2][0]))

    trio.run(main)


@pytest.mark.warns
def test_a_file_that_changed_behind_the_node_s_back_is_refused_where_nothing_was_kept(
    packs: Packs, tmp_path: Path
) -> None:
    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            node.written._kept = KeptExaminations(0)
            async with node._writing.turn():
                path = await hand_over(node, packs[0])
                path.write_bytes(packs[1][1])
            await until(lambda: bool(node.state.quarantine.refused()))
            assert not is_unpacked(node, packs[0][0])

    trio.run(main)


@pytest.mark.warns
def test_a_policy_that_changed_after_the_close_decides_what_is_let_in(
    packs: Packs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed:
        accepted_faults: frozenset[ObjectId] = frozenset()

        def search(self, signed: SignedRaw, *, promised: bool) -> Search | None:
            return None

        def judge(self, kind: int, raw: bytes, *, promised: bool, search: Search | None = None) -> Vouch:
            raise PolicyRefused("nobody may any more")

    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            async with node._writing.turn():
                await hand_over(node, packs[0])
                node.state.ingest().use_gate(Closed())
            await until(lambda: bool(node.state.quarantine.refused()))
            assert not is_unpacked(node, packs[0][0])

    trio.run(main)


def test_a_part_of_a_pack_is_no_pack_yet_large_or_small(
    packs: Packs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            oid, data = packs[0]
            path = node.written.directory / pack_name(oid)
            for in_memory in (1 << 20, 10):
                monkeypatch.setattr(candidates, "_IN_MEMORY", in_memory)
                path.write_bytes(data[:-30])
                assert await node.written.check(path, oid) is None
                path.write_bytes(data)
                assert await node.written.check(path, oid) is not None
            path.unlink()
            assert await node.written.check(path, oid) is None
            assert node.state.quarantine.refused() == []

    trio.run(main)


@pytest.mark.warns
def test_a_file_that_was_accepted_under_one_name_is_judged_again_under_another(packs: Packs, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            files = IncomingFiles(node.written.directory, 1 << 30)
            intake = Handover(files, node.packs, node.written)
            handle = await files.create(pack_name(packs[0][0]).encode(), 0o644, writing=True)
            await files.contents.write(handle, 0, packs[0][1])
            await intake.flush(handle)
            await intake.rename(handle.file, pack_name(packs[1][0]).encode(), no_replace=False)
            with pytest.raises(CorruptPack, match="not of"):
                await intake.flush(handle)

    trio.run(main)


@pytest.mark.warns
def test_an_index_that_is_busy_is_waited_for_and_refuses_no_pack(
    packs: Packs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written, "_RETRY_S", 0.01)

    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            busy = [IndexBusy(node.state.layout.index, "is held by another process")]
            ingest = node.state.ingest()
            absent = ingest._absent

            def absent_later(parents: Sequence[ObjectId]) -> list[ObjectId]:
                if busy:
                    raise busy.pop()
                return absent(parents)

            monkeypatch.setattr(ingest, "_absent", absent_later)
            await hand_over(node, packs[0])
            await until(lambda: is_unpacked(node, packs[0][0]))
            assert not busy and node.state.quarantine.refused() == []

    trio.run(main)


def test_at_rest_no_git_keeps_what_is_repacked_and_the_next_pack_comes_in_all_the_same(
    packs: Packs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written, "_REST_S", 0.01)

    async def main() -> None:
        async with running(tmp_path / "target.git") as node:
            ingests, let_in = (node.written._checker, node.state.ingest()), node.written._let_in
            done: list[ObjectId] = []

            def let_in_with_git(*args):  # type: ignore[no-untyped-def]
                outcome = let_in(*args)
                for ingest in ingests:
                    assert ingest._look_up(outcome.unpacked[0], 1) is not None
                    assert ingest._reader._process is not None
                done.extend(outcome.unpacked)
                return outcome

            monkeypatch.setattr(node.written, "_let_in", let_in_with_git)
            for pack in packs:
                await hand_over(node, pack)
                await until(lambda oid=pack[0]: oid in done)
                await until(lambda: all(i._reader._process is None and not i._known._packs for i in ingests))

    trio.run(main)
