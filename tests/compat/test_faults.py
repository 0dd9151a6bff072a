# SPDX-License-Identifier: GPL-3.0-or-later
"""One table of faults: publish, the way in and git judge each of its rows alike."""

from __future__ import annotations

import gc
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from alone import find_in
from oddities import EXAMPLES, Example, OddRepository

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest import names
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.checkobjects import BadObject
from gtfs.ingest.faults import FAULTS, TABLE, FaultCounts, Severity, git_levels
from gtfs.ingest.gate import PolicyGate
from gtfs.ingest.outcome import Outcome
from gtfs.pack.format import COMMIT, TAG, TREE
from gtfs.pack.limits import MIB, Limits
from gtfs.repo.repository import create_repository, open_repository
from gtfs.repo.unpack import GitRefused, known_fsck_ids, unpack
from gtfs.repo.work import Work
from gtfs.state.acceptedfaults import accept_faults, accepted_faults
from gtfs.state.foresee import UnlistedFaults, foresee
from gtfs.state.state import State

CASES = [pytest.param(name, make, id=f"{name}-{i}") for name, some in EXAMPLES.items() for i, make in enumerate(some)]
# Cases where git's own idea is narrower than ours: nothing to refuse there. Of names it minds those over 4,096 bytes.
UNKNOWN_TO_GIT = ("largePathname-1", "gitmodulesLarge")
LIMITS = Limits(expansion=1_000_000)


class Case:
    """A repository with one fault, taken up."""

    def __init__(self, path: Path, make: Example, object_format: str = "sha1") -> None:
        odd = OddRepository(path / "origin.git", object_format)
        first = odd.commit(odd.plain)
        odd.ref("refs/heads/ok", first)
        named, blamed = make(odd)
        odd.ref("refs/odd/it", named)
        self.blamed = ObjectId(bytes.fromhex(blamed))
        self.odd = odd
        self.path = path
        self.state = State(open_repository(odd.path), LIMITS)
        self.state.take_up(Work(jobs=1))

    def foresee(self) -> FaultCounts:
        wanted = {row.oid for row in self.state.index.packs.open_rows()}
        accepted = accepted_faults(self.state.repository)
        return foresee(self.state, wanted, accepted)

    def let_in(self, *, promised: bool, accepted: frozenset[ObjectId] = frozenset()) -> Outcome:
        number = len(list(self.path.iterdir()))
        fmt = self.state.repository.fmt
        with State(create_repository(self.path / f"mirror{number}.git", fmt), LIMITS) as mirror:
            mirror.ingest().use_gate(PolicyGate(accepted_faults=accepted))
            return mirror.ingest().run(
                Candidate(
                    row.oid,
                    self.state.layout.open_reel,
                    row.offset or 0,
                    row.size,
                    row.digest if promised else None,
                    True,
                )
                for row in self.state.index.packs.open_rows()
            )

    def git_takes_it(self, *, promised: bool, skipped: frozenset[ObjectId] = frozenset()) -> bool:
        pack = self.path / "whole.pack"
        if not pack.exists():
            pack.write_bytes(
                subprocess.run(
                    ["git", f"--git-dir={self.odd.path}", "pack-objects", "--all", "--stdout", "-q"],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
                ).stdout
            )  # fmt: skip
        number = len(list(self.path.iterdir()))
        repository = create_repository(self.path / f"git{number}.git", SHA1)
        repository.state_directory.mkdir()
        try:
            unpack(repository, pack, MIB, git_levels(promised, known_fsck_ids()), skipped)
        except GitRefused:
            return False
        return True


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path, request.param)
    with made.state:
        yield made


def test_every_fault_that_can_be_carried_or_listed_has_an_example() -> None:
    assert set(EXAMPLES) == {fault.name for fault in TABLE if fault.severity is not Severity.NEVER}


@pytest.mark.parametrize(("name", "case"), CASES, indirect=["case"])
def test_publish_says_what_mirrors_will(case: Case, name: str) -> None:
    if FAULTS[name].severity is Severity.CARRIED:
        assert case.foresee().kinds[name] == (1, case.blamed)
        return
    with pytest.raises(UnlistedFaults, match=f"object {case.blamed.hex()}: {name}: .*--accept-fault") as stopped:
        case.foresee()
    assert str(stopped.value).isprintable()
    assert case.blamed.hex() in (case.state.layout.unlisted_faults).read_text()
    accept_faults(case.state.repository, [case.blamed])
    assert case.foresee().kinds[name] == (1, case.blamed)


@pytest.mark.warns
@pytest.mark.parametrize(("name", "case"), CASES, indirect=["case"])
def test_a_mirror_takes_what_publish_let_pass(case: Case, name: str) -> None:
    packs = {row.oid for row in case.state.index.packs.open_rows()}
    outcome = case.let_in(promised=True)
    if FAULTS[name].severity is Severity.LISTED:
        ((_, why),) = outcome.refused
        assert isinstance(why, BadObject)
        assert why.oid == case.blamed
        outcome = case.let_in(promised=True, accepted=frozenset({case.blamed}))
    assert set(outcome.unpacked) == packs
    assert outcome.faults.kinds[name] == (1, case.blamed)


@pytest.mark.warns
def test_what_is_listed_comes_in_also_where_only_git_finds_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tmp_path, EXAMPLES["hasDotgit"][0])
    monkeypatch.setattr(names, "look_at", lambda _name: None)
    with case.state:
        packs = {row.oid for row in case.state.index.packs.open_rows()}
        ((_, why),) = case.let_in(promised=True).refused
        assert "hasDotgit" in str(why)
        outcome = case.let_in(promised=True, accepted=frozenset({case.blamed}))
    assert set(outcome.unpacked) == packs
    assert not outcome.faults.kinds


@pytest.mark.warns
@pytest.mark.parametrize(("name", "case"), CASES, indirect=["case"])
def test_strangers_bring_in_only_what_the_table_says(case: Case, name: str) -> None:
    outcome = case.let_in(promised=False, accepted=frozenset({case.blamed}))
    refused = [why for _, why in outcome.refused]
    if FAULTS[name].from_strangers:
        assert not refused
    else:
        (why,) = refused
        assert isinstance(why, BadObject)
        assert why.oid == case.blamed


@pytest.mark.parametrize(("name", "case"), CASES, indirect=["case"])
def test_git_alone_judges_alike_what_it_knows(case: Case, name: str, request: pytest.FixtureRequest) -> None:
    fault = FAULTS[name]
    is_known = name in known_fsck_ids() and not request.node.callspec.id.startswith(UNKNOWN_TO_GIT)
    carried = fault.severity is Severity.CARRIED and not fault.is_fatal
    assert case.git_takes_it(promised=True) == (carried or not is_known)
    assert case.git_takes_it(promised=True, skipped=frozenset({case.blamed}))
    assert case.git_takes_it(promised=False) == (fault.from_strangers or not is_known)


@pytest.mark.warns
@pytest.mark.parametrize("name", ["hasDotgit", "badDate", "unterminatedHeader", "treeNotSorted", "gitmodulesUrl"])
def test_a_sha256_repository_is_judged_alike(tmp_path: Path, name: str) -> None:
    case = Case(tmp_path, EXAMPLES[name][0], "sha256")
    with case.state:
        packs = {row.oid for row in case.state.index.packs.open_rows()}
        assert len(packs) == 2
        if FAULTS[name].severity is Severity.LISTED:
            assert case.let_in(promised=True).refused
            accept_faults(case.state.repository, [case.blamed])
        assert case.foresee().kinds[name] == (1, case.blamed)
        outcome = case.let_in(promised=True, accepted=frozenset(accepted_faults(case.state.repository)))
        assert set(outcome.unpacked) == packs


@pytest.mark.parametrize(
    ("kind", "raw", "name"),
    [
        (TREE, b"100644 a", "badTree"),
        (TREE, b"100644 \0" + b"1" * 20, "emptyName"),
        (COMMIT, b"author A <a@b> 1 +0000\n", "missingTree"),
        (COMMIT, b"tree 12\n", "badTreeSha1"),
        (COMMIT, b"tree " + b"1" * 40 + b"\nparent 12\n", "badParentSha1"),
        (TAG, b"type commit\n", "missingObject"),
        (TAG, b"object 12\n", "badObjectSha1"),
        (TAG, b"object " + b"1" * 40 + b"\ntag v1\n", "missingTypeEntry"),
        (TAG, b"object " + b"1" * 40 + b"\ntype thing\ntag v1\n\n", "badType"),
        (TAG, b"object " + b"1" * 40 + b"\ntype commit\ntagger A <a@b> 1 +0000\n\n", "missingTagEntry"),
        (TAG, b"object " + b"1" * 40 + b"\ntype commit\ntag v1", "missingTag"),
    ],
)
def test_what_nobody_can_read_is_never_taken(kind: int, raw: bytes, name: str) -> None:
    assert FAULTS[name].severity is Severity.NEVER
    with pytest.raises(BadObject):
        find_in(kind, raw)


def test_git_is_asked_only_for_what_it_knows(tmp_path: Path) -> None:
    assert {"badDate", "hasDotgit", "gitmodulesUrl", "treeNotSorted"} <= known_fsck_ids()
    assert git_levels(True, {"badDate", "hasDotgit"}) == "badDate=ignore,hasDotgit=error"
    assert git_levels(False, {"badDate", "nulInCommit"}) == "nulInCommit=ignore,badDate=error"


def test_the_page_lists_the_table() -> None:
    page = (Path(__file__).parents[2] / "man" / "gtfs-design.7").read_text()
    part = page.partition(".Sh WHAT MAY EXIST")[2].partition(".Sh ")[0]
    carried, _, rest = part.partition(".Ss Listed")
    listed, _, rest = rest.partition(".Ss Strangers")
    for text, severity in ((carried, Severity.CARRIED), (listed, Severity.LISTED)):
        shown = re.findall(r"^\.It Cm (\w+)\n(.*)$", text, re.MULTILINE)
        assert shown == [(f.name, f.what) for f in TABLE if f.severity is severity]
    strangers = re.findall(r"[a-z]\w*[A-Z]\w*", rest.partition(".Ss Never")[0])
    assert strangers == [f.name for f in TABLE if f.from_strangers]


def test_of_what_was_refused_only_the_reason_stays(tmp_path: Path) -> None:
    case = Case(tmp_path, EXAMPLES["hasDotgit"][0])
    gc.disable()
    try:
        with case.state:
            outcome = case.let_in(promised=False)
        assert "hasDotgit" in str(outcome.refused[0][1])
        assert str(case.state.layout.open_reel) not in Path("/proc/self/maps").read_text("utf-8")
    finally:
        gc.enable()
