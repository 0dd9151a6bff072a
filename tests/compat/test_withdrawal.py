# SPDX-License-Identifier: GPL-3.0-or-later
"""What a publisher withdraws is gone from it and from its mirrors, and what a ref still reaches is not (design.md §4).

Without network: reels that a mirror does not make itself come from the publisher's disk.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import shared_keys
from mirrored import Died, all_is_well, die_at, fetch, listed, take_catalogue

from gtfs.catalogue.document import BadCatalogue, Catalogue, from_text
from gtfs.ids import SHA1, ObjectId
from gtfs.node.sync import move_refs
from gtfs.reel.openreel import OpenReelWriter
from gtfs.repo.history import read_places
from gtfs.repo.repository import Repository, create_repository
from gtfs.repo.work import Work
from gtfs.state import publish as publishing
from gtfs.state import turnover, withdrawal
from gtfs.state.dryrun import answer_dry_run
from gtfs.state.eventhooks import run_withdrawn_hooks
from gtfs.state.foretell import foretell
from gtfs.state.fsck import rebuild
from gtfs.state.initialise import initialise
from gtfs.state.proposal import complete, propose
from gtfs.state.pruning import CannotPrune
from gtfs.state.publish import Published, publish_now
from gtfs.state.reelfiles import ReelFiles
from gtfs.state.rewind import BehindWithdrawal, rewind
from gtfs.state.state import State
from gtfs.state.withdrawal import describe_withdrawn, withdraw, withdrawn_reels
from gtfs.trust.sign import Signer

ANYWHERE = "refs/heads/* catalogue non-fast-forward"


def git(repository: Repository, *words: str, stdin: bytes = b"") -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", "-C", repository.path, *who, *words], input=stdin, capture_output=True, check=True)
    return done.stdout.decode().strip()


def secret(number: int) -> bytes:
    """What is in this mail and in no other; not to be found in anything that was deflated."""
    return f"mail {number}\n".encode() + bytes(range(number, number + 60))


class Archive:
    """A publisher of a mailing list: each commit has one mail, and nothing of the one before."""

    def __init__(self, root: Path, policy: str = ANYWHERE) -> None:
        self.repository = create_repository(root / "pub.git", SHA1)
        keys = shared_keys()
        with State(self.repository) as state:
            initialise(state, "list", keys["alice"], str(keys.home))
            state.config.set("policy", policy)

    def mail(self, number: int, branch: str = "main", start: str = "") -> ObjectId:
        ref = f"refs/heads/{branch}"
        has_parent = bool(start) or ref.encode() in read_places(self.repository)
        lines = [
            f"commit {ref}",
            f"committer A <a@example.org> {1_700_000_000 + number} +0000",
            "data 1",
            f"{number % 10}",
        ]
        lines += [f"from {start or ref + '^0'}"] if has_parent else []
        data = secret(number)
        text = "\n".join([*lines, "M 100644 inline m", f"data {len(data)}", ""]).encode() + data + b"\n"
        git(self.repository, "fast-import", "--quiet", "--force", stdin=text)
        return self.at(branch)

    def at(self, branch: str = "main") -> ObjectId:
        return read_places(self.repository)[f"refs/heads/{branch}".encode()]

    def history(self) -> list[ObjectId]:
        return [ObjectId(bytes.fromhex(line)) for line in git(self.repository, "rev-list", "--reverse", "main").split()]

    def purge(self, gone: ObjectId) -> ObjectId:
        """Write the history anew without this mail, as public-inbox-purge does; gives its blob."""
        history = self.history()
        at = history.index(gone)
        tip = history[at - 1].hex()
        for oid in history[at + 1 :]:
            tip = git(self.repository, "commit-tree", f"{oid.hex()}^{{tree}}", "-p", tip, "-m", "again")
        git(self.repository, "update-ref", "refs/heads/main", tip)
        return ObjectId(bytes.fromhex(git(self.repository, "rev-parse", f"{gone.hex()}:m")))

    def publish(self, state: State, *, prune: bool = False) -> Published:
        done = publish_now(state, Work(jobs=1), prune=prune)
        state.drop_superseded(state.pop_superseded())
        return done


def known(state: State) -> set[ObjectId]:
    return {row.oid for row in state.index.packs.rows_after(0, 10**6)}


def files(state: State) -> set[str]:
    return {path.name.partition(".")[0] for path in state.layout.reels.iterdir()}


def follow(state: State, origin: State) -> list[str]:
    """As a node does; gives the reels that came from elsewhere."""
    if state.held is None or state.held.digest != origin.held.digest:  # type: ignore[union-attr]
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
    fetched = fetch(state, origin)
    move_refs(state)
    withdraw(state)
    state.drop_superseded(state.pop_superseded())
    return fetched


def collect_garbage(repository: Repository) -> None:
    git(repository, "reflog", "expire", "--expire-unreachable=now", "--all")
    git(repository, "gc", "--quiet", "--prune=now")


def has(repository: Repository, oid: ObjectId) -> bool:
    return not git(repository, "cat-file", "--batch-check", stdin=oid.hex().encode() + b"\n").endswith("missing")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.fixture
def origin(archive: Archive) -> Iterator[State]:
    """Six mails in two reels."""
    with State(archive.repository) as state:
        for number in range(1, 7):
            archive.mail(number)
            if number in (4, 6):
                archive.publish(state)
        yield state


def test_without_prune_what_a_forced_push_left_stays_listed(archive: Archive, origin: State) -> None:
    before = listed(origin)
    archive.purge(archive.history()[2])
    done = archive.publish(origin)
    assert done.is_new and done.withdrawn == 0 and listed(origin)[:2] == before
    assert origin.held is not None and origin.held.catalogue.pruned is None
    assert b"Pruned" not in origin.held.document
    all_is_well(origin)


def test_with_prune_reels_have_what_refs_reach_and_the_same_bytes_of_it(archive: Archive, origin: State) -> None:
    first, second = listed(origin)
    history = archive.history()
    packs = {oid: pack_bytes(origin, oid) for oid in history[:2]}
    archive.purge(history[2])
    foretold = foretell(origin, prune=True)["withdrawn"]
    done = archive.publish(origin, prune=True)
    # Of the first reel two are left; of the second, all stand on what is gone.
    assert (done.withdrawn, foretold["packs"], foretold["reels"], foretold["new_reels"]) == (4, 4, 2, 1)
    assert {first, second}.isdisjoint(listed(origin)) and len(listed(origin)) == 2
    assert origin.held is not None
    assert [entry.rows for entry in origin.held.catalogue.reels] == [2, 3]
    assert origin.held.catalogue.pruned == 3 and b"\nPruned: 3\n" in origin.held.document
    assert foretold["new_reel_bytes"] == origin.held.catalogue.reels[0].size
    assert known(origin) == set(archive.history())
    assert files(origin) == set(listed(origin))
    for oid, data in packs.items():
        assert pack_bytes(origin, oid) == data
    all_is_well(origin)
    # It stays in all later ones, and there is nothing more to withdraw.
    assert not archive.publish(origin, prune=True).is_new
    archive.mail(7)
    archive.publish(origin)
    assert origin.held.catalogue.version == 4 and origin.held.catalogue.pruned == 3
    assert withdrawn_reels(origin) == []
    all_is_well(origin)


def test_a_reel_that_is_not_whole_here_is_no_reason_to_list_it_no_more(archive: Archive, origin: State) -> None:
    before = listed(origin)
    reel = origin.index.reels.by_name(before[0])
    assert reel is not None
    origin.index.reels.set_stage([reel.id], "partial")
    archive.purge(archive.history()[5])
    with pytest.raises(CannotPrune, match="is not whole here"):
        archive.publish(origin, prune=True)
    assert listed(origin) == before


def pack_bytes(state: State, oid: ObjectId) -> bytes:
    row = state.index.packs.get(oid)
    assert row is not None and row.offset is not None
    reel = None if row.reel is None else state.index.reels.get(row.reel)
    path = state.layout.open_reel if reel is None else state.layout.reel(reel.name)
    return path.read_bytes()[row.offset : row.offset + row.size]


def test_a_mirror_makes_the_new_reels_from_what_it_has_and_lets_go_of_the_rest(
    archive: Archive, origin: State, mirror: Repository
) -> None:
    history = archive.history()
    with State(mirror) as state:
        follow(state, origin)
        blob = archive.purge(history[2])
        archive.publish(origin, prune=True)
        old = {reel.name for reel in state.index.reels.all()}
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        # Nobody is given them from now on, and what they hold is still here.
        assert {reel.name for reel in withdrawn_reels(state)} == old
        assert known(state) == set(history)
        assert follow(state, origin) == listed(origin)[1:]  # only what is new came from elsewhere
        assert known(state) == set(archive.history())
        assert files(state) == set(listed(origin)) == {reel.name for reel in state.index.reels.all()}
        assert describe_withdrawn(state) == {"version": 3, "packs": 4, "reached": 0}
        assert not [name for name in read_places(mirror) if name.startswith(b"refs/gtfs/")]
        all_is_well(state)
        assert has(mirror, blob) and has(mirror, history[2])
    for repository in (mirror, archive.repository):
        collect_garbage(repository)
        assert not has(repository, blob) and not has(repository, history[2])
    with State(mirror) as state:
        all_is_well(state)
        assert not state.index.signoffs.get(history[2])


@pytest.mark.warns  # while the hook fails
def test_a_hook_hears_once_of_what_was_withdrawn_and_frees_git_of_it_though_no_ref_moved_with_it(
    archive: Archive, origin: State, mirror: Repository, tmp_path: Path
) -> None:
    history = archive.history()
    blob = archive.purge(history[2])

    def hear() -> bool:
        return run_withdrawn_hooks(state, lambda: False)

    with State(mirror) as state:
        heard = tmp_path / "heard"
        hook = state.layout.hooks / "withdrawn"
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(f'#!/bin/sh\ntest -e {tmp_path}/may || exit 1\necho "$GTFS_EVENT" >>{heard}\nsh -e\n')
        hook.chmod(0o755)
        archive.publish(origin)
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        follow(state, origin)
        assert hear() and not heard.exists()  # nothing was withdrawn yet
        archive.publish(origin, prune=True)
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        before = read_places(mirror)[b"refs/heads/main"]
        follow(state, origin)
        assert read_places(mirror)[b"refs/heads/main"] == before and has(mirror, blob)
        assert not hear() and has(mirror, blob)
        (tmp_path / "may").touch()
        assert hear() and hear()
        assert heard.read_text() == "withdrawn\n" and not has(mirror, blob)
        all_is_well(state)


def test_a_mirror_that_was_away_hears_of_it_by_a_later_catalogue(
    archive: Archive, origin: State, mirror: Repository
) -> None:
    with State(mirror) as state:
        follow(state, origin)
        archive.purge(archive.history()[2])
        archive.publish(origin, prune=True)
        for number in range(7, 17):  # reels are merged meanwhile, too
            archive.mail(number)
            archive.publish(origin)
        follow(state, origin)
        assert known(state) == set(archive.history())
        assert files(state) == set(listed(origin))
        all_is_well(state)


def test_a_mirror_in_the_middle_of_history_keeps_what_is_listed(
    archive: Archive, origin: State, mirror: Repository
) -> None:
    """The packs that go are not the last ones of their reel, so that its table is fetched."""
    archive.mail(20, "spam", archive.history()[1].hex())
    archive.mail(21, "side")
    archive.publish(origin)
    with State(mirror) as state:
        follow(state, origin)
        spam = archive.at("spam")
        git(archive.repository, "update-ref", "-d", "refs/heads/spam")
        archive.publish(origin, prune=True)
        assert follow(state, origin)
        assert spam not in known(state) and archive.at("side") in known(state)
        assert files(state) == set(listed(origin))
        all_is_well(state)


@pytest.mark.warns
def test_what_a_ref_that_is_held_back_reaches_is_kept_and_not_seeded(tmp_path: Path, mirror: Repository) -> None:
    archive = Archive(tmp_path, "refs/heads/* catalogue")
    with State(archive.repository) as origin, State(mirror) as state:
        for number in range(1, 5):
            archive.mail(number)
        archive.publish(origin)
        follow(state, origin)
        history = archive.history()
        packs = {oid: pack_bytes(state, oid) for oid in history}
        blob = archive.purge(history[1])
        assert archive.publish(origin, prune=True).withdrawn == 3
        follow(state, origin)
        assert read_places(mirror)[b"refs/heads/main"] == history[-1]
        assert known(state) == {*history, *archive.history()}
        assert files(state) == set(listed(origin))
        for oid in history:
            assert pack_bytes(state, oid) == packs[oid]
        assert describe_withdrawn(state) == {"version": None, "packs": 0, "reached": 3}
        collect_garbage(mirror)
        assert has(mirror, blob)
        all_is_well(state)
    with State(mirror) as state, State(archive.repository) as origin:
        all_is_well(state)
        # Its publisher says that it may go anywhere, and then it does, and they do.
        origin.config.set("policy", ANYWHERE)
        archive.publish(origin)
        follow(state, origin)
        assert known(state) == set(archive.history())
        assert describe_withdrawn(state) == {"version": 2, "packs": 3, "reached": 0}
        assert state.layout.open_reel.stat().st_size == 0
        collect_garbage(mirror)
        assert not has(mirror, blob)
        all_is_well(state)


@pytest.mark.parametrize("policy", ["refs/heads/* catalogue", ANYWHERE])
def test_what_a_dropped_ref_left_is_kept_unless_it_may_go_anywhere(
    tmp_path: Path, mirror: Repository, policy: str
) -> None:
    archive = Archive(tmp_path, policy)
    with State(archive.repository) as origin, State(mirror) as state:
        archive.mail(1)
        archive.mail(2, "other", archive.at().hex())
        archive.publish(origin)
        follow(state, origin)
        other = archive.at("other")
        git(archive.repository, "update-ref", "-d", "refs/heads/other")
        archive.publish(origin, prune=True)
        follow(state, origin)
        assert b"refs/heads/other" not in read_places(mirror)
        assert (other in known(state)) == (policy != ANYWHERE)
        held = [name for name in read_places(mirror) if name.startswith(b"refs/gtfs/was/heads/other/")]
        assert bool(held) == (policy != ANYWHERE)
        all_is_well(state)
        for name in held:  # as its owner does who has looked at it
            git(mirror, "update-ref", "-d", name.decode())
        follow(state, origin)
        assert other not in known(state)
        all_is_well(state)


def test_a_publisher_hears_for_which_refs_mirrors_keep_what_goes_and_a_policy_frees_it(
    tmp_path: Path, mirror: Repository
) -> None:
    archive = Archive(tmp_path, "refs/heads/main catalogue non-fast-forward")
    with State(archive.repository) as origin, State(mirror) as state:
        for number in range(1, 4):
            archive.mail(number)
        archive.mail(10, "other", archive.at().hex())
        git(archive.repository, "branch", "same", "main")
        archive.publish(origin)
        follow(state, origin)
        other = archive.at("other")
        for name in ("other", "same"):
            git(archive.repository, "update-ref", "-d", f"refs/heads/{name}")
        archive.publish(origin)  # as a node of it does, before anybody thinks of pruning
        follow(state, origin)
        assert foretell(origin, prune=True)["withdrawn"]["kept_refs"] == ["refs/heads/other"]
        assert archive.publish(origin, prune=True).kept_refs == [b"refs/heads/other"]
        follow(state, origin)
        assert other in known(state)
        origin.config.set("policy", ANYWHERE)
        archive.publish(origin)
        follow(state, origin)
        assert other not in known(state)
        git(archive.repository, "update-ref", "refs/heads/main", archive.history()[1].hex())
        assert archive.publish(origin, prune=True).kept_refs == []
        all_is_well(state)


def test_nothing_that_was_withdrawn_comes_back_by_a_rewind(archive: Archive, origin: State, mirror: Repository) -> None:
    with State(mirror) as state:
        follow(state, origin)
        gone = archive.history()[2]
        archive.purge(gone)
        archive.publish(origin, prune=True)
        follow(state, origin)
        archive.mail(7)
        archive.publish(origin)
        follow(state, origin)
        held, there = state.held, files(state)
        for ask in (rewind, lambda state, version: answer_dry_run(state, {"do": "rewind", "version": version})):
            with pytest.raises(BehindWithdrawal, match=r"lists what version 3 withdrew.* go back to 3; only if"):
                ask(state, 2)
        assert state.held is held and files(state) == there and gone not in known(state)
        assert rewind(state, 3)["version"] == 3
        with pytest.raises(BehindWithdrawal, match="no version that was kept is behind it and has that"):
            rewind(state, 2)
        assert gone not in known(state)


def test_a_thiefs_withdrawal_is_gone_behind_where_it_is_said_so(
    archive: Archive, origin: State, mirror: Repository
) -> None:
    with State(mirror) as state:
        follow(state, origin)
        honest, before, history = origin.held, listed(origin), archive.history()
        git(archive.repository, "update-ref", "refs/heads/main", history[0].hex())
        archive.publish(origin, prune=True)
        follow(state, origin)
        assert known(state) == {history[0]}
        request = {"do": "rewind", "version": 2, "withdrawn": True}
        assert answer_dry_run(state, request)["version"] == 2
        assert rewind(state, 2, withdrawn=True)["version"] == 2
        assert state.held is not None and honest is not None and state.held.digest == honest.digest
        assert listed(state) == before


def test_a_branch_of_the_mirrors_user_keeps_what_it_stands_on(
    archive: Archive, origin: State, mirror: Repository
) -> None:
    with State(mirror) as state:
        follow(state, origin)
        history = archive.history()
        git(mirror, "update-ref", "refs/heads/mine", history[3].hex())
        archive.purge(history[2])
        archive.publish(origin, prune=True)
        follow(state, origin)
        assert known(state) == {*archive.history(), *history[:4]}
        assert state.index.packs.get(history[2]).reel is None  # type: ignore[union-attr]
        all_is_well(state)
        git(mirror, "update-ref", "-d", "refs/heads/mine")
        follow(state, origin)
        assert known(state) == set(archive.history())
        all_is_well(state)


def test_a_catalogue_that_lists_less_without_a_word_takes_nothing_away(
    archive: Archive, origin: State, mirror: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State(mirror) as state:
        follow(state, origin)
        history = archive.history()
        archive.purge(history[2])
        real = publishing.prune_reels
        monkeypatch.setattr(publishing, "prune_reels", lambda *given: dataclasses.replace(real(*given), pruned=None))
        archive.publish(origin, prune=True)
        monkeypatch.undo()
        assert origin.held is not None and origin.held.catalogue.pruned is None
        follow(state, origin)
        assert known(state) == {*history, *archive.history()}
        all_is_well(state)


def test_what_is_withdrawn_is_written_over_in_the_open_reel(
    archive: Archive, origin: State, mirror: Repository
) -> None:
    """A mirror that encoded the packs itself has them there, as an existing clone does."""
    with State(mirror) as state:
        git(mirror, "fetch", "-q", str(archive.repository.path), "refs/heads/main:refs/heads/main")
        start = archive.history()[1].hex()
        own = git(mirror, "commit-tree", f"{start}^{{tree}}", "-p", start, "-m", "the mirror's user's")
        git(mirror, "update-ref", "refs/heads/mine", own)
        state.take_up(Work(jobs=1))
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        for name in listed(origin):  # known, and nothing of them is here
            reel, source = state.index.reels.by_name(name), origin.index.reels.by_name(name)  # type: ignore[arg-type]
            assert reel is not None and source is not None
            state.reel_files.keep_table(reel, origin.reel_files.table(source).packs, 0)  # type: ignore[union-attr]
        move_refs(state)
        history = archive.history()
        gone = pack_bytes(state, history[2])
        assert gone in state.layout.open_reel.read_bytes()
        archive.purge(history[2])
        archive.publish(origin, prune=True)
        follow(state, origin)
        assert gone not in state.layout.open_reel.read_bytes()
        assert known(state) == {*archive.history(), ObjectId(bytes.fromhex(own))}
        all_is_well(state)


def test_blank_parts_of_the_open_reel_are_no_problem_to_a_rebuild(archive: Archive) -> None:
    for number in range(3):
        archive.mail(number)
    with State(archive.repository) as state:
        state.take_up(Work(jobs=1))
        _, gone, _ = state.index.packs.open_rows()
        state.index.packs.drop([gone.oid])
        state.open_reel().blank([(gone.offset or 0, gone.size)])
    assert rebuild(archive.repository, {}, lambda _n: None).problems == ()
    with State(archive.repository) as state:
        assert known(state) == set(archive.history()) - {gone.oid}


def test_what_was_sealed_for_a_catalogue_that_nobody_signed_is_left_out_too(archive: Archive, origin: State) -> None:
    archive.mail(7)
    publishing.draft(origin, Work(jobs=1))  # its reel is sealed and waits for the next publish
    lost = archive.history()[-1]
    git(archive.repository, "update-ref", "refs/heads/main", archive.history()[-2].hex())
    archive.publish(origin, prune=True)
    assert lost not in known(origin) and len(listed(origin)) == 2
    archive.mail(8)
    archive.publish(origin)
    assert known(origin) == set(archive.history())
    all_is_well(origin)


def test_what_was_never_published_goes_from_the_publishers_disk_too(archive: Archive, origin: State) -> None:
    archive.mail(7)
    origin.take_up(Work(jobs=1))
    lost = archive.history()[-1]
    git(archive.repository, "update-ref", "refs/heads/main", archive.history()[-2].hex())
    assert not archive.publish(origin, prune=True).is_new
    assert lost not in known(origin) and origin.layout.open_reel.stat().st_size == 0


def test_what_was_withdrawn_and_comes_back_is_published_again(
    archive: Archive, origin: State, mirror: Repository
) -> None:
    with State(mirror) as state:
        follow(state, origin)
        before = archive.at()
        archive.purge(archive.history()[2])
        archive.publish(origin, prune=True)
        follow(state, origin)
        git(archive.repository, "update-ref", "refs/heads/main", before.hex())
        archive.publish(origin)
        follow(state, origin)
        assert read_places(mirror)[b"refs/heads/main"] == before
        assert known(state) >= set(archive.history())
        all_is_well(origin)
        all_is_well(state)


def test_several_sign_a_withdrawal_and_a_restart_between_costs_nothing(archive: Archive) -> None:
    with State(archive.repository) as state:
        for number in range(1, 5):
            archive.mail(number)
        archive.publish(state)
        archive.purge(archive.history()[2])
        proposal = propose(state, Work(jobs=1), prune=True)
        assert not isinstance(proposal, Published) and proposal.catalogue.pruned == 2
    with State(archive.repository) as state:
        keys = shared_keys()
        document = Signer(keys["alice"], keys.home).clearsign(proposal.file.read_text())
        complete(state, {"a": document})
        assert known(state) == set(archive.history())
        state.drop_superseded(state.pop_superseded())
        assert files(state) == set(listed(state))
        all_is_well(state)


STEPS: list[tuple[object, str]] = [
    (ReelFiles, "make"),
    (publishing, "keep"),
    (turnover, "_leave_unlisted"),
    (turnover, "_empty"),
    (withdrawal, "_leave_to_listed"),
    (withdrawal, "move_refs"),
    (withdrawal, "_keep"),
    (withdrawal, "_blank"),
    (OpenReelWriter, "blank"),
    (State, "let_go"),
    (ReelFiles, "remove"),
]
# After a step is before the next, where there is one that every run comes to.
EACH_STEP = pytest.mark.parametrize(
    ("place", "name", "before"),
    [(place, name, True) for place, name in STEPS] + [(withdrawal, "_blank", False), (ReelFiles, "remove", False)],
)


@EACH_STEP
def test_a_publisher_killed_at_any_step_of_a_withdrawal_goes_on(
    tmp_path: Path, place: object, name: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path)
    with State(archive.repository) as state:
        for number in range(1, 5):
            archive.mail(number)
        archive.publish(state)
        git(archive.repository, "update-ref", "refs/heads/mine", archive.history()[3].hex())
        state.config.set("hide", "refs/heads/mine")
        archive.mail(5)  # in the open reel only
        archive.mail(6)
        state.take_up(Work(jobs=1))
    archive.purge(archive.history()[3])
    with monkeypatch.context() as patch:
        die_at(patch, place, name, before)
        with pytest.raises(Died), State(archive.repository) as state:
            archive.publish(state, prune=True)
    with State(archive.repository) as state:
        archive.publish(state, prune=True)
        reached = {ObjectId(bytes.fromhex(line)) for line in git(archive.repository, "rev-list", "--all").split()}
        assert known(state) == reached
        assert files(state) == set(listed(state))
        assert state.index.meta.get("unblanked") is None
        all_is_well(state)
        archive.mail(9)
        archive.publish(state)
        all_is_well(state)


@EACH_STEP
@pytest.mark.warns
def test_a_mirror_killed_at_any_step_of_a_withdrawal_goes_on(
    archive: Archive,
    origin: State,
    mirror: Repository,
    place: object,
    name: str,
    before: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with State(mirror) as state:
        follow(state, origin)
        history = archive.history()
        git(mirror, "update-ref", "refs/heads/mine", history[2].hex())
    archive.purge(history[2])
    archive.publish(origin, prune=True)
    with monkeypatch.context() as patch:
        die_at(patch, place, name, before)
        try:
            with State(mirror) as state:
                follow(state, origin)
        except Died:
            pass
        else:
            assert name in ("make", "keep", "blank")
    with State(mirror) as state:
        follow(state, origin)
        assert known(state) == {*history[:3], *archive.history()}
        assert files(state) == set(listed(origin))
        assert state.index.meta.get("unblanked") is None
        all_is_well(state)


def test_a_field_that_names_a_later_version_is_refused() -> None:
    first = Catalogue("x", 1, None, 1_700_000_000, 1_700_100_000, (shared_keys()["alice"],), pruned=1)
    assert from_text(first.to_text().encode()).pruned == 1
    with pytest.raises(BadCatalogue, match="Pruned: 2 is a later version"):
        dataclasses.replace(first, pruned=2).to_text()
