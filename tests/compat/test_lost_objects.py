# SPDX-License-Identifier: GPL-3.0-or-later
"""git's own housekeeping beside us: nothing is lost by it, and what somebody deletes all the same comes back."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest import batch, laststeps, lost
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.lost import absent
from gtfs.repo.ancestry import peel
from gtfs.repo.refs import RefsNotMoved
from gtfs.repo.repository import Repository, create_repository, open_repository
from gtfs.repo.unpack import kept_marks
from gtfs.state.fsck import check, rebuild
from gtfs.state.repair import look_at_git
from gtfs.state.state import State

HOUSEKEEPING = [
    ("repack", "-a", "-d", "-q"),
    ("repack", "-a", "-d", "-f", "-q"),
    ("gc", "--prune=now", "--quiet"),
    ("prune", "--expire=now"),
]
names = pytest.mark.parametrize("command", HOUSEKEEPING, ids=lambda command: "-".join(command))


@pytest.fixture
def offered(odd_repository: Path, tmp_path: Path) -> list[Candidate]:
    """Commit packs in one file, parents first, none of which a reel promises."""
    path = tmp_path / "odd.git"
    shutil.copytree(odd_repository, path)
    with State(open_repository(path)) as state:
        state.take_up()
        return [
            Candidate(row.oid, state.layout.open_reel, row.offset or 0, row.size, None, is_ours=True)
            for row in state.index.packs.open_rows()
        ]


@pytest.fixture(autouse=True)
def one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as there is room in it."""
    monkeypatch.setattr(batch, "FIRST_EXPANDED", batch.MAX_EXPANDED)


def clean(repository: Repository, *command: str) -> None:
    subprocess.run(["git", "-C", str(repository.path), *command], check=True, capture_output=True)


def faults(state: State) -> list[str]:
    return list(check(state, lambda _done, _total: None))


def all_is_here(state: State, offered: list[Candidate]) -> None:
    assert state.index.packs.count_by_stage() == {"unpacked": len(offered)}
    assert faults(state) == []
    assert kept_marks(state.repository) == []


def at_each_step(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    """Before and after git indexes, and before refs hold what came; one at a time, though batches overlap."""
    turn = threading.Lock()

    def in_turn() -> None:
        with turn:
            happen()

    for name in ("unpack", "hold", "take_up"):
        real = getattr(laststeps, name)

        def around(*args: object, real: Callable[..., object] = real, **more: object) -> object:
            in_turn()
            result = real(*args, **more)
            in_turn()
            return result

        monkeypatch.setattr(laststeps, name, around)


@names
def test_git_housekeeping_at_every_step_of_the_way_in_loses_nothing(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(batch, "MAX_PACKS", 60)
    with State(create_repository(tmp_path / "m.git", SHA1)) as state:
        at_each_step(monkeypatch, lambda: clean(state.repository, *command))
        outcome = state.ingest().run(offered)
        assert len(outcome.unpacked) == len(offered)
        all_is_here(state, offered)
        clean(state.repository, *command)
        assert faults(state) == []


@names
def test_a_crash_before_refs_hold_a_batch_loses_nothing(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    repository = create_repository(tmp_path / "m.git", SHA1)

    def crash(*_args: object) -> None:
        raise RefsNotMoved("the power went")

    with State(repository) as state, monkeypatch.context() as patch:
        patch.setattr(laststeps, "hold", crash)
        with pytest.raises(RefsNotMoved):
            state.ingest().run(offered)
    clean(repository, *command)
    assert len(kept_marks(repository)) == 1
    with State(repository) as state:
        all_is_here(state, offered)
        clean(repository, *command)
        assert faults(state) == []


def test_a_pack_that_a_crash_left_unrecorded_is_kept_until_its_batch_comes_again(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = create_repository(tmp_path / "m.git", SHA1)

    def crash(*_args: object, **_more: object) -> None:
        raise OSError("the power went")

    with State(repository) as state, monkeypatch.context() as patch:
        patch.setattr(laststeps, "take_up", crash)
        with pytest.raises(OSError, match="power"):
            state.ingest().run(offered)
    with State(repository) as state:
        assert len(kept_marks(repository)) == 1
        clean(repository, "repack", "-a", "-d", "-q")
        state.ingest().run(offered)
        all_is_here(state, offered)


def test_a_mark_that_somebody_else_made_stays(offered: list[Candidate], tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "m.git", SHA1)
    mark = repository.objects / "pack" / f"pack-{'0' * 40}.keep"
    mark.parent.mkdir(exist_ok=True)
    mark.write_text("mine\n")
    with State(repository) as state:
        state.ingest().run(offered)
    assert mark.read_text() == "mine\n"


def test_loose_objects_that_no_ref_reaches_are_not_relied_on(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_repository(offered[0].path.parents[1])
    repository = create_repository(tmp_path / "m.git", SHA1)
    pack = source.git("pack-objects", "--all", "--stdout", "-q")
    repository.git("unpack-objects", "-q", stdin=pack)
    with State(repository) as state:
        at_each_step(monkeypatch, lambda: clean(repository, "prune", "--expire=now"))
        assert len(state.ingest().run(offered).unpacked) == len(offered)
        all_is_here(state, offered)


@pytest.mark.warns
@pytest.mark.parametrize("packs", [60, 5000])
@pytest.mark.parametrize("step", ["finish", "hold"])
def test_what_vanishes_from_a_pack_that_no_ref_held_is_let_in_again(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, packs: int
) -> None:
    """A repack that began before the refs were there ends when it was relied on already."""
    source = open_repository(offered[0].path.parents[1])
    repository = create_repository(tmp_path / "m.git", SHA1)
    pack = source.git("pack-objects", "--all", "--stdout", "-q")
    repository.git("index-pack", "--stdin", stdin=pack)
    (garbage,) = (repository.objects / "pack").glob("*.idx")
    place, name = (batch.Batch, "finish") if step == "finish" else (laststeps, "hold")
    real = getattr(place, name)

    def around(*args: object) -> None:
        real(*args)
        for suffix in (".idx", ".pack", ".rev"):
            garbage.with_suffix(suffix).unlink(missing_ok=True)

    monkeypatch.setattr(place, name, around)
    monkeypatch.setattr(batch, "MAX_PACKS", packs)
    with State(repository) as state:
        assert len(state.ingest().run(offered).unpacked) == len(offered)
        all_is_here(state, offered)


def delete_packs(repository: Repository) -> None:
    """As a disk may that loses a directory."""
    for path in (repository.objects / "pack").iterdir():
        path.unlink()


@pytest.mark.warns
def test_fsck_names_what_git_has_lost_and_it_comes_back_from_the_open_reel(
    offered: list[Candidate], tmp_path: Path
) -> None:
    with State(create_repository(tmp_path / "m.git", SHA1)) as state:
        state.ingest().run(offered)
        delete_packs(state.repository)
        assert any("missing in git" in line for line in faults(state))
        look_at_git(state)
        all_is_here(state, offered)


def lose_one(repository: Repository, oid: str) -> None:
    """Take one object out of the only pack."""
    directory = repository.objects / "pack"
    (pack,) = directory.glob("*.pack")
    moved = pack.rename(repository.path / "moved.pack")
    for path in directory.iterdir():
        path.unlink()
    repository.git("unpack-objects", "-q", "-r", stdin=moved.read_bytes())
    (repository.objects / oid[:2] / oid[2:]).unlink()


@pytest.mark.warns
@pytest.mark.parametrize("kind", [b"blob", b"tree"])
def test_a_lost_blob_or_tree_is_named_by_fsck_and_comes_back(
    offered: list[Candidate], tmp_path: Path, kind: bytes
) -> None:
    with State(create_repository(tmp_path / "m.git", SHA1)) as state:
        state.ingest().run(offered)
        out = state.repository.git("rev-list", "--objects", "--all", "--no-object-names")
        checked = state.repository.git("cat-file", "--batch-check=%(objecttype) %(objectname)", stdin=out)
        lines = [line.split() for line in checked.splitlines()]
        oid = next(name.decode() for what, name in reversed(lines) if what == kind)
        lose_one(state.repository, oid)
        assert f"git has lost the object {oid}" in faults(state)
        look_at_git(state)
        all_is_here(state, offered)


@pytest.mark.warns
def test_a_delta_whose_base_git_has_lost_is_not_refused(offered: list[Candidate], tmp_path: Path) -> None:
    with State(create_repository(tmp_path / "m.git", SHA1)) as state:
        half = len(offered) // 2
        state.ingest().run(offered[:half])
        delete_packs(state.repository)
        outcome = state.ingest().run(offered[half:])
        assert not outcome.refused
        assert outcome.waiting
        assert lost.is_doubted(state.index)
        look_at_git(state)
        state.ingest().run([c for c, _ in outcome.waiting])
        all_is_here(state, offered)


def test_git_is_asked_only_when_packs_have_gone(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[ObjectId]] = []
    monkeypatch.setattr(lost, "absent", lambda _repository, oids: asked.append(list(oids)) or [])
    with State(create_repository(tmp_path / "m.git", SHA1)) as state:
        state.ingest().run(offered)
        look_at_git(state)
        assert asked == []
        clean(state.repository, "repack", "-a", "-d", "-q")
        look_at_git(state)
        assert [len(oids) for oids in asked] == [len(offered)]
        look_at_git(state)
        assert len(asked) == 1


@pytest.mark.warns
def test_a_rebuilt_index_lets_in_again_what_git_does_not_have(offered: list[Candidate], tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "m.git", SHA1)
    with State(repository) as state:
        state.ingest().run(offered)
    delete_packs(repository)
    rebuild(repository, {}, lambda _bytes: None)
    with State(repository) as state:
        look_at_git(state)
        all_is_here(state, offered)


def test_of_a_repository_without_any_object_git_is_asked_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    oids = [ObjectId(bytes([n]) * 20) for n in range(3)]
    with monkeypatch.context() as patched:
        patched.setattr(Repository, "git", None)
        assert absent(repository, oids) == oids
        assert peel(repository, []) == {}
    blob = repository.git("hash-object", "-w", "--stdin", stdin=b"x").strip().decode()
    here = ObjectId(bytes.fromhex(blob))
    assert absent(repository, [*oids, here]) == oids
    borrower = create_repository(tmp_path / "b.git", SHA1)
    (borrower.objects / "info").mkdir(exist_ok=True)
    (borrower.objects / "info" / "alternates").write_text(f"{repository.objects}\n")
    assert absent(borrower, [*oids, here]) == oids
