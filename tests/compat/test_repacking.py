# SPDX-License-Identifier: GPL-3.0-or-later
"""git's packs in a repository that gtfs unpacks into: few, and whatever happens nothing in them is lost."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gtfs.ids import SHA1, SHA256, ObjectFormat, ObjectId
from gtfs.ingest import batch, lost, recent
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.lost import find_lost
from gtfs.node import upkeep as node_upkeep
from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.node.upkeep import Upkeep
from gtfs.remote import clone
from gtfs.repo import joinedindex, upkeep
from gtfs.repo.catfile import CatFile
from gtfs.repo.known import KnownObjects
from gtfs.repo.multipackindex import packs_in
from gtfs.repo.repository import GitFailed, Repository, create_repository, open_repository
from gtfs.repo.upkeep import repack
from gtfs.state.fsck import check
from gtfs.state.lock import Busy
from gtfs.state.state import State
from gtfs.view.news import News
from gtfs.view.writing import Writing

MANY = 60  # packs, over the limit of 50 that git has


def add_pack(repository: Repository, data: bytes) -> ObjectId:
    """One object that no ref reaches, in a pack of its own."""
    name = repository.git("hash-object", "-w", "--stdin", stdin=data)
    repository.git("pack-objects", "-q", str(repository.objects / "pack" / "pack"), stdin=name)
    repository.git("prune-packed", "-q")
    return ObjectId(bytes.fromhex(name.decode()))


def fill(repository: Repository, count: int = MANY) -> list[ObjectId]:
    return [add_pack(repository, b"object %d\n" % n * (n + 1)) for n in range(count)]


def packs(repository: Repository) -> list[str]:
    return sorted(path.name for path in (repository.objects / "pack").iterdir())


def count(repository: Repository) -> int:
    return sum(name.endswith(".idx") for name in packs(repository))


def objects(repository: Repository) -> set[bytes]:
    lines = repository.git("cat-file", "--batch-all-objects", "--batch-check", "--unordered").splitlines()
    return set(lines)


def repacked(repository: Repository) -> int:
    """How many packs became one."""
    done = repack(repository)
    return 0 if done is None else len(done.gone)


def nothing_is_left(repository: Repository) -> None:
    assert not (repository.layout.repacking).exists()
    assert all(name.startswith(("pack-", "multi-pack-index")) for name in packs(repository))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = create_repository(tmp_path_factory.mktemp("filled") / "r.git", SHA1)
    repository.state_directory.mkdir()
    fill(repository)
    return repository.path


@pytest.fixture
def many(filled: Path, tmp_path: Path) -> Repository:
    """A copy of a repository with too many packs, none of whose objects a ref reaches."""
    shutil.copytree(filled, tmp_path / "many.git")
    return open_repository(tmp_path / "many.git")


@pytest.mark.parametrize("fmt", [SHA1, SHA256], ids=lambda fmt: str(fmt.name))
def test_many_packs_become_few_and_what_no_ref_reaches_stays(tmp_path: Path, fmt: ObjectFormat) -> None:
    repository = create_repository(tmp_path / "r.git", fmt)
    repository.state_directory.mkdir()
    fill(repository)
    before = objects(repository)
    assert len(before) == count(repository) == MANY
    assert repacked(repository) > MANY / 2
    assert objects(repository) == before
    assert count(repository) < 10
    repository.git("fsck", "--full", "--strict")
    nothing_is_left(repository)
    assert repacked(repository) == 0


@pytest.fixture
def offered(odd_repository: Path, tmp_path: Path) -> Iterator[list[Candidate]]:
    """Commit packs in one file, parents first."""
    path = tmp_path / "odd.git"
    shutil.copytree(odd_repository, path)
    with State(open_repository(path)) as state:
        state.take_up()
        yield [
            Candidate(row.oid, state.layout.open_reel, row.offset or 0, row.size, row.digest, is_ours=True)
            for row in state.index.packs.open_rows()[: MANY + 20]
        ]


def test_the_packs_of_many_batches_stay_few(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_PACKS", 1)
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        most = 0
        for candidate in offered:
            outcome = state.ingest().run([candidate])
            assert outcome.unpacked == [candidate.oid]
            repack(state.repository)
            most = max(most, count(state.repository))
        assert most == 50
        state.repository.git("fsck", "--full")
        assert list(check(state, lambda _done, _total: None)) == []


def test_no_pack_gets_more_objects_than_memory_is_for(many: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    packs = sorted((many.objects / "pack").glob("*.idx"), key=lambda file: file.with_suffix(".pack").stat().st_size)
    monkeypatch.setattr(upkeep, "_MOST", sum(file.stat().st_size // 28 for file in packs[:5]))
    assert repacked(many) == 5
    monkeypatch.setattr(upkeep, "_MOST", 1)
    assert repacked(many) == 0
    many.git("fsck", "--full")


def test_git_sees_nothing_but_the_packs_that_become_one(
    many: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would read every commit of the history that it can find, for the sake of names.
    kept = min((many.objects / "pack").glob("*.pack"))
    kept.with_suffix(".keep").touch()
    seen = tmp_path / "seen"
    names = 'cat "$GIT_OBJECT_DIRECTORY"/pack/*.idx | wc -c; ls "$GIT_OBJECT_DIRECTORY/pack"'
    fake(tmp_path, monkeypatch, f'(echo "$GIT_ALTERNATE_OBJECT_DIRECTORIES"; {names}) > {seen}; exit 1')
    with pytest.raises(GitFailed):
        repack(many)
    alternates, size, *found = seen.read_text().split("\n")
    files = [path for path in (many.objects / "pack").iterdir() if path.stem != kept.stem]
    assert alternates == ""
    assert int(size) == sum(path.stat().st_size for path in files if path.suffix == ".idx")
    assert sorted(filter(None, found)) == sorted(path.name for path in files if path.suffix in (".pack", ".idx"))


def test_readers_with_the_old_packs_open_go_on(many: Repository) -> None:
    oids = [ObjectId(bytes.fromhex(line.split()[0].decode())) for line in sorted(objects(many))]
    with CatFile(many) as reader, KnownObjects(many) as known:
        data = reader.read(oids[0], 1 << 20)
        assert repack(many)
        # Most of these are in packs that this git knows of, never opened, and that have gone.
        assert reader.read(oids[0], 1 << 20) == data
        assert all(reader.read(oid, 1 << 20).data is not None for oid in oids)
        assert all(oid in known for oid in oids)
        assert known.refresh()
        assert not known.refresh()
        assert all(oid in known for oid in oids)
        late = add_pack(many, b"late")
        assert reader.read(late, 100).data == b"late"


def test_an_ingest_lets_go_of_packs_that_have_gone(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        monkeypatch.setattr(batch, "MAX_PACKS", 1)
        monkeypatch.setattr(recent, "MAX_BYTES", 0)  # bases are asked of git
        state.ingest().run(offered[:MANY])
        assert repack(state.repository)
        assert packs_held_by_children()
        state.ingest().run(offered[MANY : MANY + 1])
        assert not packs_held_by_children()


def packs_held_by_children() -> list[str]:
    """Packs that are deleted and still take room, as a process of ours has mapped them."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    lines = [line for child in children for line in Path(f"/proc/{child}/maps").read_text().splitlines()]
    return [line for line in lines if "/objects/pack/" in line and line.endswith("(deleted)")]


@pytest.mark.parametrize(
    ("name", "value"), [("gc.auto", "0"), ("gc.auto", "-1"), ("gc.autoPackLimit", "0"), ("gc.autoPackLimit", "1k")]
)
def test_the_settings_that_forbid_gits_own_repacking_forbid_this(many: Repository, name: str, value: str) -> None:
    many.git("config", name, value)
    before = packs(many)
    assert repacked(many) == 0
    assert packs(many) == before


def test_a_lower_limit_is_heeded(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    repository.state_directory.mkdir()
    fill(repository, 6)
    repository.git("config", "gc.autoPackLimit", "6")
    assert repacked(repository) == 0
    add_pack(repository, b"one more")
    assert repacked(repository) == 7


def test_a_setting_that_is_no_number_is_told(many: Repository) -> None:
    many.git("config", "gc.autoPackLimit", "few")
    with pytest.raises(GitFailed, match="few"):
        repack(many)


def test_a_damaged_pack_stops_it_and_nothing_changes(many: Repository) -> None:
    pack = min((many.objects / "pack").glob("*.pack"))
    pack.chmod(0o644)
    raw = bytearray(pack.read_bytes())
    raw[14] ^= 0xFF
    pack.write_bytes(raw)
    before = packs(many)
    with pytest.raises(GitFailed):
        repack(many)
    assert packs(many) == before
    nothing_is_left(many)


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Another program in the place of nice(1), which starts the one that does the work."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "nice").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "nice").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def is_running(pid: Path) -> bool:
    return Path(f"/proc/{pid.read_text().strip()}").exists()


def test_a_full_disk_changes_nothing(many: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = many.layout.repacking / "pack" / "pack-half.pack"
    fake(tmp_path, monkeypatch, f"echo half > {out}\necho 'fatal: No space left on device' >&2\nexit 128")
    before = packs(many)
    with pytest.raises(OSError, match="No space left"):
        repack(many)
    assert packs(many) == before
    nothing_is_left(many)


def test_what_is_stopped_ends_at_once_and_changes_nothing(
    many: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    fake(tmp_path, monkeypatch, f"echo $$ > {pid}\necho half > {many.layout.repacking}/pack/tmp_pack_x\nexec sleep 600")
    before = packs(many)
    assert repack(many, stop=lambda: pid.exists() and bool(pid.read_text())) is None
    assert not is_running(pid)
    assert packs(many) == before
    nothing_is_left(many)


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    left = repository.layout.repacking / "pack" / "tmp_pack_abc"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    pack = repository.objects / "pack" / "pack-1.pack"
    pack.touch()
    seen = repository.layout.repacking / "seen" / "pack"
    seen.mkdir(parents=True)
    (seen / pack.name).symlink_to(pack)
    with State(repository):
        nothing_is_left(repository)
    assert pack.exists()


def never(*_args: object) -> None:
    raise AssertionError("git was asked")


def while_it_works(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    work = upkeep._pack

    def slowed(*args: object) -> bool:
        done = work(*args)  # type: ignore[arg-type]
        happen()
        return done

    monkeypatch.setattr(upkeep, "_pack", slowed)


def test_packs_that_come_meanwhile_stay(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_PACKS", 1)
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        state.ingest().run(offered[:MANY])

        def happen() -> None:
            assert len(state.ingest().run(offered[MANY:]).unpacked) == 20

        while_it_works(monkeypatch, happen)
        assert repack(state.repository)
        assert 20 < count(state.repository) < MANY
        state.repository.git("fsck", "--full")
        assert list(check(state, lambda _done, _total: None)) == []


def test_git_gc_at_the_same_time_does_no_harm(many: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    before = objects(many)
    while_it_works(monkeypatch, lambda: many.git("repack", "-a", "-d", "-k", "-q") and None)
    repack(many)
    assert objects(many) == before
    many.git("fsck", "--full")


def test_kept_and_cruft_packs_are_left_alone(many: Repository) -> None:
    kept, cruft = sorted((many.objects / "pack").glob("*.pack"))[:2]
    kept.with_suffix(".keep").touch()
    cruft.with_suffix(".mtimes").touch()
    assert repack(many)
    assert kept.exists() and kept.with_suffix(".idx").exists()
    assert cruft.exists() and cruft.with_suffix(".idx").exists()


def test_a_partial_clone_is_left_alone(many: Repository) -> None:
    min((many.objects / "pack").glob("*.pack")).with_suffix(".promisor").touch()
    before = packs(many)
    assert repacked(many) == 0
    assert packs(many) == before


def test_packs_of_an_alternate_stay_there_and_are_not_copied(many: Repository, tmp_path: Path) -> None:
    here = create_repository(tmp_path / "here.git", SHA1)
    here.state_directory.mkdir()
    (here.objects / "info").mkdir(exist_ok=True)
    (here.objects / "info" / "alternates").write_text(f"{many.objects}\n")
    own = [add_pack(here, b"own %d" % n) for n in range(MANY)]
    before, all_objects = packs(many), objects(here)
    assert len(all_objects) == 2 * MANY
    assert repack(here)
    assert packs(many) == before
    assert objects(here) == all_objects
    (here.objects / "info" / "alternates").unlink()
    assert len(objects(here)) == len(own)


def test_a_multi_pack_index_that_would_name_packs_that_are_gone_goes(many: Repository) -> None:
    many.git("config", "core.multiPackIndex", "true")
    many.git("multi-pack-index", "write")
    before = objects(many)
    with CatFile(many) as reader:
        first, *rest = [ObjectId(bytes.fromhex(line.split()[0].decode())) for line in before]
        assert reader.read(first, 1 << 20).data is not None
        assert repack(many)
        assert all(reader.read(oid, 1 << 20).data is not None for oid in rest)
    assert not (many.objects / "pack" / "multi-pack-index").exists()
    assert objects(many) == before
    many.git("fsck", "--full")


def test_the_lock_of_a_git_that_writes_one_is_left_alone_and_a_chain_of_them_goes(many: Repository) -> None:
    chain, lock = (many.objects / "pack" / f"multi-pack-index.{name}" for name in ("d", "lock"))
    chain.mkdir()
    (chain / "multi-pack-index-chain").touch()
    lock.touch()
    assert repack(many)
    assert lock.exists() and list(chain.iterdir()) == []
    assert count(many) < 10


def test_the_end_of_a_fetch_repacks_while_nobody_may_sweep_and_no_pack_is_missed_after_it(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = create_repository(tmp_path / "clone.git", SHA1)
    with State(repository) as state, monkeypatch.context() as patch:
        patch.setattr(batch, "MAX_PACKS", 1)
        state.ingest().run(offered[:MANY])
    repository.git("config", "gc.autoPackLimit", "1")

    def another_begins() -> None:
        with pytest.raises(Busy), State(repository):
            pass

    while_it_works(monkeypatch, another_begins)
    clone.end(repository, (), keeps_reels=True)
    assert count(repository) < 10
    with State(repository) as state:
        monkeypatch.setattr(lost, "absent", never)
        assert find_lost(repository, state.index) == 0


async def look(upkeep_of: Upkeep) -> bool:
    """At rest; what came of it is noted."""
    async with trio.open_nursery() as nursery:
        return await upkeep_of.look(nursery, is_busy=False)


async def until(condition: Callable[[], object]) -> None:
    while True:
        if condition():
            return
        await trio.sleep(0.01)


@pytest.mark.trio
async def test_a_running_node_repacks_after_something_came(many: Repository) -> None:
    with State(many) as state:
        async with open_node(state, NodeOptions(offline=True)) as node, trio.open_nursery() as nursery:
            await nursery.start(node.run_task)
            node.news.came_in()
            await until(lambda: count(many) < MANY)
            nursery.cancel_scope.cancel()
    assert count(many) < 10


@pytest.mark.trio
async def test_a_node_at_rest_repacks_until_its_packs_are_few(
    many: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = next((many.objects / "pack").glob("*.idx"))
    monkeypatch.setattr(upkeep, "_MOST", 10 * (index.stat().st_size // 28))  # ten of them at once
    many.git("config", "gc.autoPackLimit", "30")
    with State(many) as state:
        done = Upkeep(many, state.index, Writing(News(state.index)))
        assert await look(done)
        left = count(many)
        assert left <= 30
        assert await look(done)
        assert count(many) == left


@pytest.mark.trio
@pytest.mark.parametrize(("limit", "most"), [(8, MANY), (7, 10)])
async def test_a_busy_node_lets_more_packs_be(
    limit: int, most: int, many: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_upkeep, "MANY_TIMES", 8)
    many.git("config", "gc.autoPackLimit", str(limit))
    with State(many) as state:
        upkeep = Upkeep(many, state.index, Writing(News(state.index)))
        async with trio.open_nursery() as nursery:
            await upkeep.look(nursery, is_busy=True)
            assert most - 10 < count(many) <= most
            await upkeep.look(nursery, is_busy=False)
            assert count(many) < 10


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each look of an `Upkeep`, which does nothing, whether it was of a busy node."""
    found: list[bool] = []

    async def look(self: Upkeep, nursery: trio.Nursery, *, is_busy: bool) -> bool:
        found.append(is_busy)
        return True

    monkeypatch.setattr(Upkeep, "look", look)
    return found


@pytest.mark.trio
async def test_a_node_is_busy_while_news_come_and_at_rest_after_them(
    many: Repository, autojump_clock: MockClock, asked: list[bool]
) -> None:
    with State(many) as state:
        writing = Writing(News(state.index))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Upkeep(many, state.index, writing).run_task)
            for _ in range(12):
                writing.news.unpacked.grow()
                await trio.sleep(1)
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
    assert len(asked) > 2 and all(asked[:-1]) and not asked[-1]


@pytest.mark.trio
async def test_a_node_is_busy_while_somebody_writes(
    many: Repository, autojump_clock: MockClock, asked: list[bool]
) -> None:
    with State(many) as state:
        writing = Writing(News(state.index))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Upkeep(many, state.index, writing).run_task)
            async with writing.turn():
                writing.news.unpacked.grow()
                await trio.sleep(22)
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
    assert asked == [True, True, True, True, False]


@pytest.mark.trio
async def test_what_is_left_by_a_repack_has_one_index_again(many: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joinedindex, "_BEGIN", 0)
    monkeypatch.setattr(joinedindex, "_WORTH", 1000)
    for pack in list((many.objects / "pack").glob("*.pack"))[:2]:
        pack.with_suffix(".keep").touch()  # stays
    with State(many) as state:
        upkeep = Upkeep(many, state.index, Writing(News(state.index)))
        async with trio.open_nursery() as nursery:
            await upkeep.look(nursery, is_busy=False)
    left = {file.name for file in (many.objects / "pack").glob("*.idx")}
    assert len(left) == 3
    assert packs_in(many.objects / "pack" / "multi-pack-index", many.fmt) == left


@pytest.mark.trio
async def test_packs_that_cannot_have_one_index_are_looked_at_again_after_longer(
    many: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_upkeep, "join_packs", lambda _repository: False)
    with State(many) as state:
        assert not await look(Upkeep(many, state.index, Writing(News(state.index))))


@pytest.mark.trio
@pytest.mark.warns
async def test_whoever_writes_for_long_keeps_no_packs_many(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_upkeep, "REST_S", 0.01)
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        with monkeypatch.context() as patch:
            patch.setattr(batch, "MAX_PACKS", 1)
            state.ingest().run(candidate._replace(promised=None) for candidate in offered[:MANY])
        index = next((state.repository.objects / "pack").glob("*.idx"))
        monkeypatch.setattr(upkeep, "_MOST", 10 * (index.stat().st_size // 28))  # ten of them at once
        monkeypatch.setattr(upkeep, "MANY_TIMES", 1)
        monkeypatch.setattr(node_upkeep, "MANY_TIMES", 1)
        state.repository.git("config", "gc.autoPackLimit", "20")
        writing = Writing(News(state.index))
        unpacked = writing.news.unpacked
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Upkeep(state.repository, state.index, writing).run_task)
            async with writing.turn():
                await until(lambda: unpacked.grow() or count(state.repository) <= 20)
                assert lost.relied_on(state.index) - lost.pack_names(state.repository)  # that is told in a turn
            await until(lambda: lost.relied_on(state.index) == lost.pack_names(state.repository))
            nursery.cancel_scope.cancel()
        with monkeypatch.context() as patch:
            patch.setattr(lost, "absent", never)
            assert find_lost(state.repository, state.index) == 0


@pytest.mark.trio
@pytest.mark.warns
async def test_git_is_not_asked_for_all_packs_once_more_after_a_nodes_own_repacking(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        with monkeypatch.context() as patch:
            patch.setattr(batch, "MAX_PACKS", 1)
            state.ingest().run(candidate._replace(promised=None) for candidate in offered[:MANY])
        before = count(state.repository)
        assert await look(Upkeep(state.repository, state.index, Writing(News(state.index))))
        assert count(state.repository) < before
        with monkeypatch.context() as patch:
            patch.setattr(lost, "absent", never)
            assert find_lost(state.repository, state.index) == 0
        # What somebody deletes later is missed all the same.
        for path in list((state.repository.objects / "pack").iterdir()):
            path.unlink()
        assert find_lost(state.repository, state.index) == MANY


@pytest.mark.trio
@pytest.mark.warns
async def test_a_failure_is_logged_once_and_tried_again(
    many: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node_upkeep, "REST_S", 0.01)
    monkeypatch.setattr(node_upkeep, "AGAIN_S", 0.01)
    tries = tmp_path / "tries"
    fake(tmp_path, monkeypatch, f"echo >> {tries}\necho 'fatal: No space left on device' >&2\nexit 128")
    with State(many) as state:
        writing = Writing(News(state.index))
        unpacked = writing.news.unpacked
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Upkeep(many, state.index, writing).run_task)
            for number in (1, 2, 3):
                unpacked.grow()
                await until(lambda wanted=number: tries.exists() and tries.stat().st_size >= wanted)
            (tmp_path / "bin" / "nice").unlink()
            unpacked.grow()
            await until(lambda: count(many) < MANY)
            nursery.cancel_scope.cancel()
    assert [r.levelname for r in caplog.records if r.name == node_upkeep.__name__] == ["WARNING"]


@pytest.mark.trio
async def test_the_end_of_a_node_ends_its_upkeep(
    many: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    fake(tmp_path, monkeypatch, f"echo $$ > {pid}\nexec sleep 600")
    before = packs(many)
    with State(many) as state:
        writing = Writing(News(state.index))
        writing.news.unpacked.grow()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Upkeep(many, state.index, writing).run_task)
            await until(lambda: pid.exists() and bool(pid.read_text()))
            nursery.cancel_scope.cancel()
    assert not is_running(pid)
    assert packs(many) == before
    nothing_is_left(many)
