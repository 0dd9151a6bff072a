# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches on their way into git: what one pack stands on may be in a pack whose contents no batch keeps."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import WAIT_S

from gtfs.ids import SHA1, ObjectId, PackDigest
from gtfs.ingest import batch, laststeps, recent
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.examine import Examined
from gtfs.ingest.recent import Contents
from gtfs.pack import decode
from gtfs.pack.account import Account
from gtfs.pack.format import BLOB, COMMIT, KIND_NAMES, OFS_DELTA, REF_DELTA
from gtfs.pack.limits import Limits
from gtfs.pack.scan import Entry, Scan, scan
from gtfs.reel.index import Index
from gtfs.reel.openreel import OpenReelWriter
from gtfs.repo.repository import Repository, create_repository, open_repository
from gtfs.repo.unpack import GitRefused, kept_marks
from gtfs.state.state import State
from gtfs.trust.policy import Vouch


@pytest.fixture
def offered(odd_repository: Path, tmp_path: Path) -> list[Candidate]:
    """Every commit pack in one file, parents first."""
    path = tmp_path / "odd.git"
    subprocess.run(["git", "clone", "-q", "--mirror", str(odd_repository), str(path)], check=True)
    with State(open_repository(path)) as state:
        state.take_up()
        return [
            Candidate(row.oid, state.layout.open_reel, row.offset or 0, row.size, row.digest, is_ours=True)
            for row in state.index.packs.open_rows()
        ]


def let_in(offered: list[Candidate], path: Path) -> set[ObjectId]:
    with State(create_repository(path, SHA1)) as state:
        outcome = state.ingest().run(offered)
        assert not outcome.refused
        assert not outcome.waiting
        for candidate in offered:
            assert state.repository.git("cat-file", "-t", candidate.oid.hex()).strip() in (b"commit", b"tag")
        state.repository.git("fsck", "--full", "--connectivity-only")
        return set(outcome.unpacked)


def test_deltas_find_bases_in_packs_too_large_to_be_kept(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "HELD_BYTES", 50_000)
    assert let_in(offered, tmp_path / "mirror.git") == {c.oid for c in offered}


@pytest.mark.parametrize(("bound", "most"), [("MAX_PACKS", 7), ("MAX_OBJECTS", 20)])
def test_small_batches_let_everything_in(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(batch, bound, most)
    assert let_in(offered, tmp_path / "mirror.git") == {c.oid for c in offered}


def test_foreign_deltas_by_offset_come_in_though_nothing_holds_what_they_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "STREAM_BYTES", 1000)
    work, seed = tmp_path / "work", random.Random(7)
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    text = seed.randbytes(40_000)
    for number in range(5):
        (work / f"f{number}").write_bytes(text + b"%d" % number)
    git = ["git", "-C", str(work), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "five alike"], check=True)
    listed = subprocess.run([*git, "rev-list", "--objects", "HEAD"], capture_output=True, check=True).stdout
    made = [*git, "pack-objects", "--stdout", "--delta-base-offset", "--no-reuse-delta"]
    pack = subprocess.run(made, input=listed, capture_output=True, check=True).stdout
    assert any(entry.kind == OFS_DELTA for entry in scan(pack, SHA1, Limits()).entries)
    path = tmp_path / "foreign.pack"
    path.write_bytes(pack)
    oid = ObjectId(bytes.fromhex(listed.split()[0].decode()))
    assert let_in([Candidate(oid, path, 0, len(pack), None, is_ours=False)], tmp_path / "mirror.git") == {oid}


@pytest.mark.parametrize("packs", [5, 10_000])
def test_bases_that_are_not_at_hand_are_read_from_the_files_of_batches(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packs: int
) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 0)
    monkeypatch.setattr(batch, "MAX_PACKS", packs)
    read_here: list[ObjectId] = []
    read = batch.Batch.read

    def watched(
        self: batch.Batch, oid: ObjectId, most_bytes: int, lookup: Callable[[ObjectId], Contents | None]
    ) -> Contents | None:
        found = read(self, oid, most_bytes, lookup)
        if found is not None:
            assert SHA1.hash_object(KIND_NAMES[found[0]], found[1]) == oid
            read_here.append(oid)
        return found

    monkeypatch.setattr(batch.Batch, "read", watched)
    assert let_in(offered, tmp_path / "mirror.git") == {c.oid for c in offered}
    assert read_here


def test_git_gets_what_is_worth_a_process_while_it_has_nothing_to_do(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "FIRST_PACKS", 20)
    sizes = []
    real = laststeps.LastSteps.into_git

    def noted(self: laststeps.LastSteps, of: batch.Batch) -> laststeps.InGit:
        sizes.append(len(of.members))
        return real(self, of)

    monkeypatch.setattr(laststeps.LastSteps, "into_git", noted)
    assert let_in(offered, tmp_path / "mirror.git") == {c.oid for c in offered}
    assert sizes[0] == 20 and sum(sizes) == len(offered)


def test_a_sign_off_that_fails_while_git_is_at_work_records_nothing(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_packs: object) -> None:
        raise OSError("gpg has no memory")

    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        with monkeypatch.context() as patch:
            patch.setattr(state.ingest()._last_steps, "_sign_off", fail)
            with pytest.raises(OSError, match="no memory"):
                state.ingest().run(offered)
        assert not state.index.packs.unpacked()
        assert kept_marks(state.repository)
        assert len(state.ingest().run(offered).unpacked) == len(offered)
        assert not kept_marks(state.repository)


def test_git_is_given_the_next_batch_while_the_one_before_is_recorded(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_PACKS", 20)
    record, into_git = laststeps.LastSteps.record, laststeps.LastSteps.into_git
    second_is_there = threading.Event()
    given: list[int] = []

    def noted(self: laststeps.LastSteps, of: batch.Batch) -> laststeps.InGit:
        there = into_git(self, of)
        given.append(len(of.members))
        if len(given) == 2:
            second_is_there.set()
        return there

    def waiting(self: laststeps.LastSteps, of: batch.Batch, there: laststeps.InGit) -> list[ObjectId]:
        assert second_is_there.wait(WAIT_S)
        return record(self, of, there)

    monkeypatch.setattr(laststeps.LastSteps, "into_git", noted)
    monkeypatch.setattr(laststeps.LastSteps, "record", waiting)
    assert let_in(offered, tmp_path / "mirror.git") == {c.oid for c in offered}


def test_packs_that_cannot_have_one_index_are_not_looked_through_for_each_batch(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Repository] = []
    monkeypatch.setattr(batch, "MAX_PACKS", 20)
    # It says None: it is of no use.
    monkeypatch.setattr(laststeps, "join_packs", lambda repository, _came: tried.append(repository))
    assert let_in(offered, tmp_path / "mirror.git") == {c.oid for c in offered}
    assert len(tried) == 1


def test_nothing_is_recorded_of_a_batch_behind_one_that_could_not_be(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_PACKS", 20)
    take_up = laststeps.take_up
    strangers = [c._replace(promised=None) for c in offered]  # whose rows are made with them
    asked: list[int] = []

    def full(repository: Repository, index: Index, into: OpenReelWriter, new: list[ObjectId], *more: object) -> object:
        asked.append(len(new))
        if len(asked) == 2:
            raise OSError("the disk is full")
        return take_up(repository, index, into, new, *more)  # type: ignore[arg-type]

    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        with monkeypatch.context() as patch:
            patch.setattr(laststeps, "take_up", full)
            with pytest.raises(OSError, match="full"):
                state.ingest().run(strangers)
        assert asked == [20, 20] and state.index.packs.count_by_stage() == {"unpacked": 20}
        assert kept_marks(state.repository)  # git has what was not recorded, and is to keep it
        assert len(state.ingest().run(strangers).unpacked) == len(offered)
        assert not kept_marks(state.repository)


def test_no_file_of_a_batch_stays_or_stays_open(offered: list[Candidate], tmp_path: Path) -> None:
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        state.ingest().run(offered)
        assert not list(state.repository.layout.batches())
        opened = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        assert not [path for path in opened if "(deleted)" in path and str(tmp_path) in path]


def test_deltas_that_stand_on_each_other_are_no_object_and_no_endless_loop(tmp_path: Path) -> None:
    """Two packs, each of which has the other's base: only if git forgets one in between can both be written."""
    a, b = ObjectId(b"a" * 20), ObjectId(b"b" * 20)
    made = batch.Batch(tmp_path / "batch", SHA1, lambda _oids: set())
    for oid, base in ((a, b), (b, a)):
        entry = Entry(12, REF_DELTA, 4, base, None, 12, 24, 100)
        item = decode.Decoded(oid, BLOB, 100, None, entry)
        found = Scan((entry,), 24, b"", PackDigest(bytes(32)), {}, Account(Limits()))
        made.add(
            Candidate(oid, tmp_path, 0, 24, None, is_ours=True),
            Examined(oid, COMMIT, 0, (), found, [item], Vouch("local"), ()),
            bytes(24),
        )
    assert made.read(a, 1000, lambda _oid: None) is None
    made.close()


def test_an_object_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    oid = ObjectId(b"a" * 20)
    made = batch.Batch(tmp_path / "batch", SHA1, lambda _oids: set())
    data = zlib.compress(b"x" * 100)
    entry = Entry(12, BLOB, 100, None, None, 12, 12 + len(data), 100)
    found = Scan((entry,), 24, b"", PackDigest(bytes(32)), {}, Account(Limits()))
    item = decode.Decoded(oid, BLOB, 100, None, entry)
    made.add(
        Candidate(oid, tmp_path, 0, 24, None, is_ours=True),
        Examined(oid, COMMIT, 0, (), found, [item], Vouch("local"), ()),
        bytes(12) + data,
    )
    assert made.read(oid, 99, lambda _oid: None) is None
    assert made.over(oid, 99) == (BLOB, 100, None)
    assert made.over(oid, 100) is None
    assert made.read(oid, 100, lambda _oid: None) == (BLOB, b"x" * 100)
    assert made.read(ObjectId(b"b" * 20), 100, lambda _oid: None) is None
    made.close()


def refuse(bad: set[ObjectId], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let git refuse whatever batch has one of these; gives the packs of each batch that it was asked for."""
    unpack, into_git = laststeps.unpack, laststeps.LastSteps.into_git
    being_let_in: set[ObjectId] = set()
    asked: list[int] = []

    def refused(repository: Repository, path: Path, *more: object) -> list[Path]:
        asked.append(len(being_let_in))
        if bad & being_let_in:
            raise GitRefused("it is bad")
        return unpack(repository, path, *more)  # type: ignore[arg-type]

    def noted(self: laststeps.LastSteps, of: batch.Batch) -> laststeps.InGit:
        being_let_in.clear()
        being_let_in.update(of.oids)
        return into_git(self, of)

    monkeypatch.setattr(laststeps, "unpack", refused)
    monkeypatch.setattr(laststeps.LastSteps, "into_git", noted)
    return asked


@pytest.mark.warns
def test_the_packs_to_blame_are_found_by_halves(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "FIRST_EXPANDED", batch.MAX_EXPANDED)
    monkeypatch.setattr(batch, "MAX_PACKS", 200)  # of which none is left to be examined on top of it
    with State(open_repository(tmp_path / "odd.git")) as state:
        childless = [c.oid for c in offered if not state.index.history.children_of(c.oid)]
    bad = {childless[0], childless[-1], childless[len(childless) // 2]}
    asked = refuse(bad, monkeypatch)
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        outcome = state.ingest().run(offered)
        assert {c.oid for c, _ in outcome.refused} == bad and not outcome.waiting
        assert set(outcome.unpacked) == {c.oid for c in offered} - bad
        state.repository.git("fsck", "--full", "--connectivity-only")
    assert asked[0] == len(offered)
    assert len(asked) <= 1 + 2 * len(bad) * len(offered).bit_length() < len(offered) / 3


@pytest.mark.warns
def test_what_git_refuses_is_no_base_for_what_comes_after_it(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a batch that git refuses, and of the next one that was examined on top of it."""
    monkeypatch.setattr(batch, "MAX_PACKS", 20)
    bad = offered[10].oid
    refuse({bad}, monkeypatch)
    with State(create_repository(tmp_path / "mirror.git", SHA1)) as state:
        outcome = state.ingest().run(offered)
        assert [c.oid for c, _ in outcome.refused] == [bad]
        waiting = {c.oid for c, _ in outcome.waiting}
        assert waiting.isdisjoint(outcome.unpacked)
        assert len(waiting) + len(outcome.unpacked) + 1 == len(offered)
        for _, parents in outcome.waiting:
            assert not set(parents) <= set(outcome.unpacked)
        state.repository.git("fsck", "--full", "--connectivity-only")
