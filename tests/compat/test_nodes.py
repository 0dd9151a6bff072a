# SPDX-License-Identifier: GPL-3.0-or-later
"""A node without network: what git brought becomes reels and a catalogue, what is written comes in or is refused."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import shared_keys

from gtfs.ids import SHA1, ObjectId, pack_name
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.takeup import find_new, parents_first
from gtfs.pack.format import CorruptPack
from gtfs.pack.limits import Limits
from gtfs.reel.index import IndexCorrupt
from gtfs.reel.recover import Listed
from gtfs.repo.history import TIPS, read_refs
from gtfs.repo.repository import BadRepository, create_repository, open_repository
from gtfs.repo.work import Step, Work
from gtfs.state.fsck import check, rebuild
from gtfs.state.initialise import initialise
from gtfs.state.lock import Busy
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.state.unpublishable import Unpublishable
from gtfs.trust.policy import PolicyRefused


def git(path: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(path), *args], text=True, capture_output=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def odd(odd_repository: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    path = tmp_path / "odd.git"
    subprocess.run(["git", "clone", "-q", "--mirror", str(odd_repository), str(path)], check=True)
    return path


@pytest.fixture
def packs(odd: Path, tmp_path: Path) -> Iterator[dict[ObjectId, Path]]:
    """Every commit pack as a file, parents first."""
    directory = tmp_path / "packs"
    directory.mkdir()
    found: dict[ObjectId, Path] = {}
    with State(open_repository(odd)) as state:
        state.take_up()
        data = state.layout.open_reel.read_bytes()
        for row in state.index.packs.open_rows():
            found[row.oid] = directory / pack_name(row.oid)
            found[row.oid].write_bytes(data[row.offset : row.offset + row.size])
    yield found


def candidates(packs: dict[ObjectId, Path]) -> list[Candidate]:
    return [Candidate(oid, path, 0, path.stat().st_size, None, is_ours=False) for oid, path in packs.items()]


def all_is_well(state: State) -> None:
    assert list(check(state, lambda _done, _total: None)) == []


def test_what_git_brought_is_taken_up_once(odd: Path) -> None:
    with State(open_repository(odd)) as state:
        first = state.take_up()
        assert (first.packs, first.unmade) == (184, {})
        assert state.take_up().packs == 0
        all_is_well(state)
    with State(open_repository(odd)) as state:
        assert find_new(state.repository, state.index) == []


def test_an_interrupted_take_up_goes_on_where_it_stopped(odd: Path) -> None:
    asked = False

    def tell(step: Step) -> None:
        nonlocal asked
        asked = True
        assert 0 < step.packs < step.packs_of == 184 and step.size

    with State(open_repository(odd)) as state:
        some = state.take_up(Work(1, lambda: asked, tell)).packs
        assert 0 < some < 184
    with State(open_repository(odd)) as state:
        assert state.take_up(Work(jobs=2)).packs == 184 - some
        all_is_well(state)


@pytest.mark.parametrize("seed", [1, 2])
def test_packs_come_in_whatever_their_order(packs: dict[ObjectId, Path], tmp_path: Path, odd: Path, seed: int) -> None:
    target = create_repository(tmp_path / "target.git", SHA1)
    with State(target) as state:
        left = candidates(packs)
        random.Random(seed).shuffle(left)
        rounds = 0
        while left:
            named = {c.oid: state.ingest().scan(c).parents for c in left}
            by_oid = {c.oid: c for c in left}
            half = [by_oid[oid] for oid in parents_first(named.items())][:: 2 if rounds == 0 else 1]
            outcome = state.ingest().run(half)
            assert not outcome.refused
            left = [c for c in left if c.oid not in set(outcome.unpacked)]
            rounds += 1
        assert rounds > 1
        all_is_well(state)
        assert state.index.packs.count_by_stage() == {"unpacked": 184}
    for oid in packs:
        assert git(target.path, "cat-file", "-t", oid.hex()) in ("commit", "tag")
    # Tips hold all of it: git gc loses nothing.
    git(target.path, "gc", "-q", "--prune=now")
    with State(target) as state:
        all_is_well(state)
    assert set(git(odd, "rev-list", "--all").split()) == set(git(target.path, "rev-list", "--all").split())
    assert git(target.path, "fsck", "--full", "--no-dangling", "--connectivity-only") == ""


def test_what_came_in_is_shown_in_its_canonical_bytes(packs: dict[ObjectId, Path], tmp_path: Path, odd: Path) -> None:
    """Another encoder's pack of the same objects is let in, and then is ours."""
    target = create_repository(tmp_path / "target.git", SHA1)
    foreign = tmp_path / "foreign"
    with State(target) as state:
        for oid, path in list(packs.items())[:20]:
            parents = git(odd, "rev-list", "--parents", "-n1", oid.hex()).split()[1:]
            revs = "\n".join([oid.hex(), *("^" + p for p in parents)]) + "\n"
            made = subprocess.run(
                ["git", "-C", str(odd), "pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"],
                input=revs.encode(), capture_output=True, check=True,
            ).stdout  # fmt: skip
            foreign.write_bytes(made)
            outcome = state.ingest().run([Candidate(oid, foreign, 0, len(made), None, is_ours=False)])
            assert outcome.unpacked == [oid], outcome
            row = state.index.packs.get(oid)
            assert row is not None and row.size == path.stat().st_size
        all_is_well(state)


def test_publishing_twice_changes_nothing_and_a_new_commit_adds_a_reel(odd: Path, tmp_path: Path) -> None:
    keys = shared_keys()
    with State(open_repository(odd)) as state:
        assert initialise(state, "odd", keys.fingerprints["alice"], str(keys.home)) == "odd"
        state.config.set("refs", "refs/")  # it has some in odd places
        first = publish_now(state)
        assert (first.version, first.is_new, len(first.reels), first.packs) == (1, True, 1, 184)
        assert state.layout.open_reel.stat().st_size == 0
        again = publish_now(state)
        assert (again.version, again.is_new) == (1, False)
        tree = git(odd, "rev-parse", "refs/heads/deltas^{tree}")
        new = git(odd, "commit-tree", "-m", "new", "-p", "refs/heads/deltas", tree)
        git(odd, "update-ref", "refs/heads/deltas", new)
        second = publish_now(state)
        assert (second.version, len(second.reels), second.reels[-1].rows) == (2, 2, 1)
        all_is_well(state)


def test_a_rebuilt_index_says_the_same(odd: Path) -> None:
    keys = shared_keys()
    repository = open_repository(odd)
    with State(repository) as state:
        initialise(state, "odd", keys.fingerprints["alice"], str(keys.home))
        publish_now(state)
        before = [row[1:-1] for row in state.index.packs.rows_after(0, 1000)]
        c = state.held.catalogue
        listed = {e.name: Listed(e.infohash, e.size, e.rows, c.version) for e in c.reels}
    result = rebuild(repository, listed, lambda _n: None)
    assert result.problems == ()
    with State(repository) as state:
        assert sorted(row[1:-1] for row in state.index.packs.rows_after(0, 1000)) == sorted(before)
        all_is_well(state)


def test_an_index_is_the_old_one_until_it_is_made_anew(odd: Path) -> None:
    repository = open_repository(odd)
    with State(repository) as state:
        state.take_up()
        before = state.index.packs.rows_after(0, 1000)
        open_reel = state.layout.open_reel.read_bytes()

    def interrupt(_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(repository, {}, interrupt)
    assert not [path for path in repository.layout.root.iterdir() if path.name.startswith((".writing-", "node.db.old"))]
    with State(repository) as state:
        assert state.index.packs.rows_after(0, 1000) == before
        assert state.layout.open_reel.read_bytes() == open_reel
        all_is_well(state)


def test_a_start_without_its_index_cuts_nothing_and_names_the_remedy(odd: Path) -> None:
    repository = open_repository(odd)
    with State(repository) as state:
        state.take_up()
        before = {row.oid for row in state.index.packs.open_rows()}
        open_reel = state.layout.open_reel.read_bytes()
    for path in repository.layout.root.glob("node.db*"):
        path.unlink()
    for may_be_read_only in (False, True):
        with pytest.raises(IndexCorrupt, match="run gtfs fsck --rebuild"):
            State(repository, may_be_read_only=may_be_read_only)
    assert not repository.layout.index.exists()
    assert repository.layout.open_reel.read_bytes() == open_reel
    rebuild(repository, {}, lambda _n: None)
    with State(repository) as state:
        assert {row.oid for row in state.index.packs.open_rows()} == before
        all_is_well(state)


def test_a_shallow_clone_is_not_published(odd: Path, tmp_path: Path) -> None:
    keys = shared_keys()
    shallow = tmp_path / "shallow.git"
    subprocess.run(
        ["git", "clone", "-q", "--bare", "--depth=1", "-b", "deltas", f"file://{odd}", str(shallow)], check=True
    )
    with State(open_repository(shallow)) as state:
        initialise(state, "odd", keys.fingerprints["alice"], str(keys.home))
        with pytest.raises(Unpublishable, match="--unshallow"):
            publish_now(state)


@pytest.mark.warns
def test_of_a_partial_clone_only_refs_with_their_whole_history_are_published(odd: Path, tmp_path: Path) -> None:
    keys = shared_keys()
    git(odd, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial.git"
    subprocess.run(["git", "clone", "-q", "--mirror", "--filter=blob:none", f"file://{odd}", str(partial)], check=True)
    with State(open_repository(partial)) as state:
        initialise(state, "odd", keys.fingerprints["alice"], str(keys.home))
        done = publish_now(state)
        whole = set(git(odd, "for-each-ref", "--format=%(refname)").split())
        assert done.held_back and whole >= {n.decode() for n in done.held_back}
        assert all("partial clone" in reason for reason in done.held_back.values())
        assert not done.held_back.keys() & state.held.catalogue.refs.keys()


def test_a_second_node_is_told_who_has_the_repository(odd: Path) -> None:
    with State(open_repository(odd)), pytest.raises(Busy, match=str(os.getpid())):
        State(open_repository(odd))


def test_a_keyring_lets_only_signed_commits_in(packs: dict[ObjectId, Path], tmp_path: Path) -> None:
    keys = shared_keys()
    target = create_repository(tmp_path / "target.git", SHA1)
    with State(target) as state:
        (target.state_directory / "keyring.gpg").write_bytes(keys.export("alice"))
        state.load_keyring()
        outcome = state.ingest().run(candidates(packs)[:1])
        assert [type(e) for _, e in outcome.refused] == [PolicyRefused]
        assert outcome.unpacked == []
    assert git(target.path, "rev-list", "--all") == ""


BAD = {
    "truncated": lambda d: d[:-30],
    "trailing bytes": lambda d: d + b"more",
    "wrong trailer": lambda d: d[:-20] + bytes(20),
    "flipped byte": lambda d: d[:40] + bytes([d[40] ^ 1]) + d[41:],
    "no pack": lambda d: b"x" * len(d),
    "empty": lambda d: b"",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_pack_is_refused_and_leaves_nothing(packs: dict[ObjectId, Path], tmp_path: Path, kind: str) -> None:
    oid, path = next(iter(packs.items()))
    path.write_bytes(BAD[kind](path.read_bytes()))
    target = create_repository(tmp_path / "target.git", SHA1)
    with State(target) as state:
        outcome = state.ingest().run(candidates({oid: path}))
        assert [isinstance(e, CorruptPack) for _, e in outcome.refused] == [True]
        assert state.index.packs.count() == 0
        all_is_well(state)
    assert git(target.path, "count-objects") == "0 objects, 0 kilobytes"
    assert not list((target.objects / "pack").iterdir())


def test_the_pack_of_another_commit_is_refused(packs: dict[ObjectId, Path], tmp_path: Path) -> None:
    (first, path), (second, _), *_ = packs.items()
    target = create_repository(tmp_path / "target.git", SHA1)
    with State(target) as state:
        outcome = state.ingest().run(candidates({second: path}))
        assert first.hex() in str(outcome.refused[0][1])


def test_a_limit_names_itself(packs: dict[ObjectId, Path], tmp_path: Path) -> None:
    target = create_repository(tmp_path / "target.git", SHA1)
    with State(target, Limits(object_bytes=100)) as state:
        outcome = state.ingest().run(candidates(packs)[:3])
        assert "object_bytes" in str(outcome.refused[0][1])


def test_what_a_crash_left_is_swept_at_the_next_start(odd: Path) -> None:
    repository = open_repository(odd)
    with State(repository) as state:
        state.take_up()
        end = state.layout.open_reel.stat().st_size
    quarantine = repository.layout.unpacking / "pack"
    quarantine.mkdir(parents=True)
    (quarantine / "pack-x.pack").write_bytes(b"half")
    (repository.state_directory / "batch-7.tmp").write_bytes(b"half")
    (repository.state_directory / "spool").mkdir(exist_ok=True)
    (repository.state_directory / "spool" / "0.packs").write_bytes(b"half")
    with (repository.state_directory / "open.reel").open("ab") as f:
        f.write(b"PACK torn")
    with State(repository) as state:
        assert state.layout.open_reel.stat().st_size == end
        all_is_well(state)
    left = {p.name for p in repository.state_directory.iterdir()}
    assert not left & {"unpacking", "batch-7.tmp", "spool"}


def test_tips_hold_only_what_nothing_else_does(packs: dict[ObjectId, Path], tmp_path: Path) -> None:
    target = create_repository(tmp_path / "target.git", SHA1)
    with State(target) as state:
        chain = candidates(packs)
        state.ingest().run(chain)
        tips = {r.oid for r in read_refs(target) if r.name.startswith(TIPS)}
        commits = {oid for oid in packs if git(target.path, "cat-file", "-t", oid.hex()) == "commit"}
        history = state.index.history
        ends = {oid for oid in commits if not commits & set(history.children_of(oid))}
        assert tips & commits <= ends
        # A commit that a tag names is held by the tag.
        assert ends - tips <= {p for oid in packs.keys() - commits for p in history.parents_of(oid)}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.write_text("x"), "not a directory"),
        (lambda p: p.mkdir(), "is no git repository"),
        (lambda p: p.mkdir() or (p / "HEAD").mkdir(), "clone --mirror"),
    ],
)
def test_what_is_no_repository_is_told_so(tmp_path: Path, make, words: str) -> None:
    make(tmp_path / "r")
    with pytest.raises(BadRepository, match=words):
        open_repository(tmp_path / "r")
