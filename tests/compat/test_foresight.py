# SPDX-License-Identifier: GPL-3.0-or-later
"""What publish foresees is the same by one process and by several, of packs as they are made and later."""

from __future__ import annotations

import re
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from history import History, bomb
from oddities import EXAMPLES, OddRepository

from gtfs.ids import ObjectId
from gtfs.ingest import examine, foresight
from gtfs.ingest.faults import FaultCounts
from gtfs.ingest.foresight import NOT_LOOKED_AT, Foreseen, Foresight, LookedAt, PackPlace, foresee_many
from gtfs.pack.limits import Limits
from gtfs.repo import encoding
from gtfs.repo.catfile import CatFile
from gtfs.repo.repository import open_repository
from gtfs.repo.work import Step, Work
from gtfs.state import faultpaths
from gtfs.state.foresee import Unacceptable, UnlistedFaults, foresee
from gtfs.state.state import State

LIMITS = Limits(expansion=1_000_000)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """With a commit for each fault that has an example, and runs of three packs that are worth a process."""
    monkeypatch.setattr(foresight, "_RUN", 3)
    monkeypatch.setattr(foresight, "_IN_PROCESS", 3)
    odd = OddRepository(tmp_path / "origin.git")
    for number, make in enumerate(make for some in EXAMPLES.values() for make in some):
        odd.ref(f"refs/odd/{number}", make(odd)[0])
    with State(open_repository(odd.path), LIMITS) as made:
        made.take_up(Work(jobs=1))
        yield made


def places(state: State) -> list[PackPlace]:
    return [PackPlace(row.oid, row.offset, row.size) for row in state.index.packs.open_rows()]


def look(state: State, jobs: int, limits: Limits = LIMITS, at: list[PackPlace] | None = None) -> list[Foreseen]:
    found = places(state) if at is None else at
    return list(foresee_many(state.repository, state.layout.open_reel, found, len(found), limits, 1 << 20, Work(jobs)))


def test_several_processes_find_what_one_finds_in_the_same_order(state: State) -> None:
    one = look(state, 1)
    assert look(state, 2) == one
    assert [run.packs for run in one[:-1]] == [3] * (len(one) - 1)
    assert sum(run.packs for run in one) == len(places(state)) > 9
    assert sum(run.size for run in one) == state.layout.open_reel.stat().st_size
    assert any(run.findings for run in one)


def test_the_list_of_faults_does_not_depend_on_how_many_look(state: State) -> None:
    wanted = {place.oid for place in places(state)}
    said = []
    for jobs in (1, 2):
        steps: list[Step] = []
        with pytest.raises(UnlistedFaults) as stopped:
            foresee(state, wanted, (), Work(jobs, tell=steps.append))
        said.append((str(stopped.value), state.layout.unlisted_faults.read_text(), steps))
        assert steps[-1].packs == steps[-1].packs_of == len(wanted)
        listed = [line.split()[0] for line in state.layout.unlisted_faults.read_text().splitlines()]
        accepted = [ObjectId(bytes.fromhex(oid)) for oid in listed]
        counts = foresee(state, wanted, accepted, Work(jobs))
        assert isinstance(counts, FaultCounts) and counts.kinds
        said[-1] += (counts.kinds,)
    assert said[0] == said[1]


def test_a_pack_that_no_mirror_can_take_is_named_by_each(state: State) -> None:
    at = places(state)
    torn = at[7]._replace(length=at[7].length - 1)
    for jobs in (1, 2):
        bad = [run.bad for run in look(state, jobs, at=[*at[:7], torn, *at[8:]]) if run.bad is not None]
        assert [oid for oid, _ in bad] == [torn.oid]
    row = state.index.packs.get(torn.oid)
    assert row is not None
    with state.layout.open_reel.open("r+b") as file:
        file.seek(torn.offset + torn.length - 1)
        file.write(b"\0\0")
    for jobs in (1, 2):
        with pytest.raises(Unacceptable, match=f"no mirror can take the pack of {torn.oid.hex()}: "):
            foresee(state, {place.oid for place in at}, (), Work(jobs))


def test_it_ends_early_when_told_to(state: State) -> None:
    for jobs in (1, 2):
        work = Work(jobs, stop=lambda: True)
        found = places(state)
        runs = list(foresee_many(state.repository, state.layout.open_reel, found, len(found), LIMITS, 1 << 20, work))
        assert sum(run.packs for run in runs) == 0


@pytest.mark.parametrize("kept", [0, 8 << 20])
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_said_of_packs_as_they_are_made_is_what_is_said_of_them_later(
    tmp_path: Path, state: State, jobs: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_KEPT_BYTES", kept)  # one process; others map only what is long
    later = [found for run in look(state, 1) for found in run.findings]
    shutil.rmtree(state.repository.state_directory)
    with State(open_repository(state.repository.path), LIMITS) as fresh:
        taken = fresh.take_up(Work(jobs), foresight=Foresight(LIMITS, 1 << 20))
        assert [(oid, told.findings) for oid, told in taken.looked_at.said] == later != []
        assert all(taken.looked_at.has(place.offset) for place in places(fresh))
        monkeypatch.setattr(examine.Examiner, "foresee", None)  # nothing is looked at again
        wanted = {place.oid for place in places(fresh)}
        with pytest.raises(UnlistedFaults) as stopped:
            foresee(fresh, wanted, (), Work(jobs), taken.looked_at)
    monkeypatch.undo()
    with State(open_repository(state.repository.path), LIMITS) as again, pytest.raises(UnlistedFaults) as once_more:
        foresee(again, wanted, (), Work(1))
    assert str(stopped.value) == str(once_more.value)


def test_only_packs_that_were_looked_at_count_as_such() -> None:
    looked_at = LookedAt()
    for start, end in ((10, 20), (20, 30), (50, 51)):
        looked_at.add(start, end)
    assert [offset for offset in range(60) if looked_at.has(offset)] == [*range(10, 30), 50]
    assert not NOT_LOOKED_AT.has(0)


@pytest.mark.parametrize("trees", [faultpaths.TREES, 4])
def test_where_a_fault_stands_is_sought_in_each_tree_once(
    tmp_path: Path, trees: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faultpaths, "TREES", trees)
    history = History(tmp_path / "a.git")
    bombed = bytes.fromhex(history.git("rev-parse", f"{bomb(history, levels=5, names=16).hex()}^{{tree}}").decode())
    bad = b"100644 .GiT\0" + history.put("blob", b"x")
    fault = history.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=bad).decode()
    root = history.put(
        "tree", b"40000 a\0%b40000 z\0%b" % (bombed, history.put("tree", b"40000 y\0%b" % bytes.fromhex(fault)))
    )
    history.ref("refs/heads/main", history.commit(tree=root))
    path = "z/y" if trees > 4 else "?"
    with State(history.repository) as state:
        state.take_up(Work(jobs=1))
        wanted = {place.oid for place in places(state)}
        tracemalloc.start()
        try:
            with pytest.raises(UnlistedFaults, match=f"path {re.escape(path)}, object {fault}: hasDotgit"):
                foresee(state, wanted, ())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 16 << 20  # of 16 ** 5 paths
        assert state.layout.unlisted_faults.read_text().endswith(f" {path}\n")


def test_a_fault_of_the_root_has_its_path_and_so_has_one_in_a_tagged_tree(tmp_path: Path) -> None:
    history = History(tmp_path / "a.git")
    bad = b"100644 .GiT\0" + history.put("blob", b"x")
    fault = history.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=bad).decode()
    oid = ObjectId(bytes.fromhex(fault))
    commit = history.commit(tree=oid)
    above = history.put("tree", b"40000 d\0%b" % oid)
    tag = history.put("tag", b"object %b\ntype tree\ntag t\ntagger A <a> 1 +0000\n\n" % above.hex().encode())
    with CatFile(history.repository) as reader:
        paths = faultpaths.FaultPaths(reader, history.repository.fmt)
        assert paths.find(commit, [oid, commit]) == {oid: "/", commit: "/"}
        assert paths.find(tag, [oid, above, tag]) == {oid: "d", above: "/", tag: "/"}
