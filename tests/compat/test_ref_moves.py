# SPDX-License-Identifier: GPL-3.0-or-later
"""Refs of a mirror: which move, for whom, and that one which cannot holds up no other."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import pytest
from history import WHO, History
from keys import NOW_S, YEAR_S, Keys, shared_keys

from gtfs.ids import ObjectId
from gtfs.ingest import takeup
from gtfs.ingest.refjudge import Demands
from gtfs.ingest.refmoves import GONE, READY, RefReport, follow_refs, reassert, survey_refs
from gtfs.repo import refs
from gtfs.repo.history import TIPS, WAS
from gtfs.repo.refs import RefMove, RefsNotMoved, move_refs
from gtfs.repo.work import Work
from gtfs.state.state import State
from gtfs.trust.keyring import Keyring
from gtfs.trust.policy import parse_policy

IN_TIME = NOW_S - 3 * YEAR_S + 3600  # when the key that has expired was good


class Mirror:
    """A mirror that has all objects, and follows what it is told."""

    def __init__(self, path: Path) -> None:
        self.keys = shared_keys()
        self.history = History(path, self.keys)
        self.state = State(self.history.repository)
        self.ring: Keyring | None = self.keys.ring
        self.local: list[str] = []
        self.lines: list[str] = []

    def let_in(self, *oids: ObjectId) -> None:
        """Record all of history as unpacked, as ingest does, by refs that go again."""
        for number, oid in enumerate(oids):
            self.history.ref(f"refs/made/{number}", oid)
        self.state.take_up(Work(jobs=1))
        for number, _ in enumerate(oids):
            self.history.ref(f"refs/made/{number}", None)

    @property
    def demands(self) -> Demands:
        return Demands([parse_policy(t) for t in self.local], [parse_policy(t) for t in self.lines], self.ring)

    def follow(self, head: str | None = None, /, **refs: ObjectId) -> RefReport:
        """``main=oid`` is refs/heads/main; ``tags_v1=oid`` is refs/tags/v1."""
        wanted = {ref_name(n): oid for n, oid in refs.items()}
        return follow_refs(
            self.state.repository, self.state.index, wanted, head.encode() if head else None, self.demands
        )

    def survey(self, **refs: ObjectId) -> dict[str, tuple[str, bool]]:
        found = survey_refs(
            self.state.repository, self.state.index, {ref_name(n): oid for n, oid in refs.items()}, self.demands
        )
        return {h.name.decode(): (h.reason, h.sync_helps) for h in found}

    def reassert(self, may_move: Container[bytes] | None = None) -> int:
        held = self.state.index.refs.held()
        return reassert(self.state.repository, self.state.index, self.demands, held if may_move is None else may_move)

    def at(self, name: str) -> ObjectId | None:
        return self.history.refs().get(name)


def ref_name(word: str) -> bytes:
    return (b"refs/tags/" + word[5:].encode()) if word.startswith("tags_") else b"refs/heads/" + word.encode()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    made = Mirror(tmp_path / "m.git")
    yield made
    made.state.__exit__(None, None, None)


@pytest.fixture
def own_keys() -> Iterator[Keys]:
    """Keys that the test may change."""
    made = Keys(Path(tempfile.mkdtemp(prefix="gtfs-keys-", dir="/tmp")))
    yield made
    made.close()


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """How many (of one program) were started since the last time that it was asked."""
    started: list[str] = []
    real = subprocess.Popen.__init__

    def counted(self: Any, command: Any, *args: Any, **options: Any) -> None:
        started.append(command[0])
        real(self, command, *args, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", counted)

    def count(program: str = "") -> int:
        found = [name for name in started if program in name]
        started.clear()
        return len(found)

    return count


# -- who signed -----------------------------------------------------------------------------------------------------


def test_a_full_disk_is_the_machines_fault_also_where_git_does_not_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(tmp_path / "a.git")
    move = RefMove(b"refs/heads/x", None, history.commit())
    said = b"fatal: cannot update ref 'refs/heads/x': couldn't write 'refs/heads/x.lock'"
    monkeypatch.setattr(refs, "_transaction", lambda *_: said)
    assert list(move_refs(history.repository, [move])) == [b"refs/heads/x"]
    free = list(os.statvfs(tmp_path))
    free[4] = 0  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(free))
    with pytest.raises(RefsNotMoved, match="the disk is full") as caught:
        move_refs(history.repository, [move])
    assert caught.value.exit_code == 7


def test_a_commit_that_a_wide_line_let_in_does_not_move_a_ref_of_a_narrow_one(mirror: Mirror) -> None:
    alice, bob = mirror.keys["alice"], mirror.keys["bob"]
    first = mirror.history.commit(by="alice")
    second = mirror.history.commit(first, by="bob")
    mirror.let_in(second)
    mirror.lines = [f"refs/heads/rel every-commit by={alice}", f"** every-commit by={alice},{bob}"]
    report = mirror.follow(main=second, rel=second)
    assert report.moved == 1
    assert mirror.history.refs() == {"refs/heads/main": second}
    assert report.held_back[b"refs/heads/rel"].startswith(f"{bob} may not sign this")
    assert mirror.follow(main=second, rel=first).moved == 1


def test_a_local_narrow_line_counts_as_well(mirror: Mirror) -> None:
    alice, bob = mirror.keys["alice"], mirror.keys["bob"]
    tip = mirror.history.commit(by="bob")
    mirror.let_in(tip)
    mirror.lines = [f"** every-commit by={alice},{bob}"]
    mirror.local = [f"refs/heads/rel every-commit by={alice}"]
    assert list(mirror.follow(main=tip, rel=tip).held_back) == [b"refs/heads/rel"]


def test_two_lists_of_signers_with_nobody_in_common_let_nothing_move(mirror: Mirror) -> None:
    tip = mirror.history.commit(by="alice")
    mirror.let_in(tip)
    mirror.lines = [f"** every-commit by={mirror.keys['alice']}"]
    mirror.local = [f"** every-commit by={mirror.keys['bob']}"]
    assert list(mirror.follow(main=tip).held_back) == [b"refs/heads/main"]
    mirror.lines, mirror.local = (
        [line.replace("every-commit", "tag") for line in mirror.lines],
        [line.replace("every-commit", "tag") for line in mirror.local],
    )
    tag = mirror.history.tag(tip, "v1", by="alice")
    mirror.let_in(tag)
    assert set(mirror.follow(main=tip, tags_v1=tag).held_back) == {b"refs/heads/main", b"refs/tags/v1"}


def test_a_signed_tag_counts_by_who_signed_it(mirror: Mirror) -> None:
    tip = mirror.history.commit()
    good, foreign = mirror.history.tag(tip, "v1", by="alice"), mirror.history.tag(tip, "v2", by="bob")
    mirror.let_in(good, foreign)
    mirror.lines = [f"** tag by={mirror.keys['alice']}"]
    report = mirror.follow(main=tip, tags_v1=good, tags_v2=foreign, tags_v3=good)
    assert mirror.history.refs() == {"refs/heads/main": tip, "refs/tags/v1": good}
    assert "may not sign" in report.held_back[b"refs/tags/v2"]
    assert "calls itself" in report.held_back[b"refs/tags/v3"]
    mirror.lines = [f"** tag by={mirror.keys['bob']}"]
    other = mirror.history.commit(tip)
    mirror.let_in(other)
    assert "no signed tag" in mirror.follow(main=other).held_back[b"refs/heads/main"]


def test_what_plain_git_brought_is_judged_with_all_of_its_history(mirror: Mirror) -> None:
    """Unsigned commits that the owner vouched for, before there was a catalogue, do not pass as signed."""
    unsigned = mirror.history.commit()
    tip = mirror.history.commit(unsigned, by="alice")
    mirror.let_in(tip)
    mirror.history.ref("refs/heads/main", unsigned)
    mirror.lines = ["** every-commit"]
    report = mirror.follow(main=tip)
    assert report.held_back == {b"refs/heads/main": f"the commit is not signed ({unsigned.hex()})"}


def test_a_signature_counts_by_the_keyring_of_now(mirror: Mirror) -> None:
    first, second = mirror.history.chain(2, by="bob")
    mirror.let_in(second)
    mirror.lines = ["** every-commit"]
    assert mirror.follow(main=first).moved == 1
    # Bob's key is taken out of the ring.
    alone = mirror.keys.directory / "alice.gpg"
    alone.write_bytes(mirror.keys.export("alice"))
    mirror.ring = mirror.keys.keyring("only-alice.gpg", alone)
    assert "not in the keyring" in mirror.follow(main=second).held_back[b"refs/heads/main"]
    mirror.ring = None
    assert "no keyring" in mirror.follow(main=second).held_back[b"refs/heads/main"]


@pytest.mark.parametrize("name", ["alice", "expired"])
def test_a_revoked_key_withdraws_what_was_found_good_before(mirror: Mirror, own_keys: Keys, name: str) -> None:
    made_s = IN_TIME if name == "expired" else NOW_S - 3600
    tip = sign_commit(mirror.history, own_keys, name, made_s)
    mirror.let_in(tip)
    mirror.lines = ["** every-commit"]
    mirror.ring = own_keys.ring
    assert mirror.survey(main=tip)["refs/heads/main"] == (READY, True)
    own_keys._revoke(name)
    revoked = own_keys.directory / "revoked.gpg"
    revoked.write_bytes(own_keys.export(name))
    mirror.ring = own_keys.keyring("after.gpg", own_keys.public, revoked)
    (reason,) = mirror.follow(main=tip).held_back.values()
    assert reason.startswith("the key that signed is revoked: ") and tip.hex() in reason


def test_a_ref_moves_to_what_a_key_signed_before_it_expired_and_later_only_by_a_newer_keyring(
    mirror: Mirror, own_keys: Keys
) -> None:
    key = own_keys["expired"]
    first = sign_commit(mirror.history, own_keys, "expired", IN_TIME)
    tag = sign_tag(mirror.history, own_keys, first, "v1", IN_TIME)
    own_keys.gpg("--quick-set-expire", key, "0")  # which the ring does not know
    late = sign_tag(mirror.history, own_keys, first, "v2", NOW_S - YEAR_S)
    mirror.let_in(first, tag, late)
    mirror.lines = ["refs/tags/** tag", "** every-commit"]
    mirror.ring = own_keys.ring
    report = mirror.follow(main=first, tags_v1=tag, tags_v2=late)
    assert report.moved == 2
    assert f"the key {key} expired on" in report.held_back[b"refs/tags/v2"]
    assert "a newer keyring may know that it was extended" in report.held_back[b"refs/tags/v2"]
    newer = own_keys.directory / "newer.gpg"
    newer.write_bytes(own_keys.export("expired"))
    mirror.ring = own_keys.keyring("after.gpg", own_keys.public, newer)
    assert mirror.follow(main=first, tags_v1=tag, tags_v2=late).moved == 1


@pytest.mark.parametrize("where", ["lines", "local"])
def test_strict_expiry_lets_no_expired_key_move_a_ref(mirror: Mirror, where: str) -> None:
    first = sign_commit(mirror.history, mirror.keys, "expired", IN_TIME)
    tag = sign_tag(mirror.history, mirror.keys, first, "v1", IN_TIME)
    mirror.let_in(first, tag)
    mirror.lines = ["refs/tags/** tag", "** every-commit"]
    setattr(mirror, where, ["refs/tags/** tag strict-expiry", "** every-commit strict-expiry"])
    report = mirror.follow(main=first, tags_v1=tag)
    assert sorted(report.held_back) == [b"refs/heads/main", b"refs/tags/v1"]
    assert all("has expired" in reason for reason in report.held_back.values())
    setattr(mirror, where, [])
    mirror.lines = ["refs/tags/** tag", "** every-commit"]
    assert mirror.follow(main=first, tags_v1=tag).moved == 2


def sign_tag(history: History, keys: Keys, target: ObjectId, name: str, time_s: int) -> ObjectId:
    raw = b"object %s\ntype commit\ntag %s\ntagger %s\n\ntag\n" % (target.hex().encode(), name.encode(), WHO)
    return history.put("tag", raw + keys.sign(raw, "expired", time_s=time_s))


def sign_commit(history: History, keys: Any, by: str, time_s: int) -> ObjectId:
    head = b"tree %s\nauthor A <a@x> 1700000000 +0000\ncommitter A <a@x> 1700000000 +0000\n" % (
        history.tree.hex().encode()
    )
    lines = keys.sign(head + b"\nold\n", by, time_s=time_s).rstrip(b"\n").split(b"\n")
    return history.put("commit", head + b"gpgsig " + b"\n ".join(lines) + b"\n\nold\n")


def test_gpgv_runs_once_for_a_commit_and_a_keyring(mirror: Mirror, processes: Callable[..., int]) -> None:
    chain = mirror.history.chain(12, by="alice")
    mirror.let_in(chain[-1])
    mirror.lines = ["** every-commit"]
    processes()
    mirror.follow(main=chain[-2])
    assert processes("gpgv") == 11
    mirror.follow(main=chain[-1], other=chain[-1])
    assert processes("gpgv") == 1
    mirror.lines = [f"** every-commit strict-expiry by={mirror.keys['alice']}"]
    mirror.follow(main=chain[-1], third=chain[-1])
    assert processes("gpgv") == 0


# -- back in time ---------------------------------------------------------------------------------------------------


def test_a_ref_that_was_dropped_comes_back_no_older(mirror: Mirror) -> None:
    chain = mirror.history.chain(4)
    mirror.let_in(chain[3])
    mirror.follow(main=chain[2], other=chain[2])
    assert mirror.follow(other=chain[2]).moved == 1
    report = mirror.follow(other=chain[2], main=chain[0])
    assert mirror.at("refs/heads/main") is None
    assert "where a catalogue had it" in report.held_back[b"refs/heads/main"]
    # Also over several versions, and with a restart between.
    mirror.follow(other=chain[2])
    assert mirror.reassert() == 0
    assert mirror.follow(other=chain[2], main=chain[1]).held_back
    assert mirror.follow(other=chain[2], main=chain[3]).moved == 1


def test_a_ref_that_its_owner_removed_or_set_back_comes_back_no_older(mirror: Mirror) -> None:
    chain = mirror.history.chain(4)
    mirror.let_in(chain[3])
    mirror.follow(main=chain[2])
    mirror.history.ref("refs/heads/main", None)
    assert list(mirror.follow(main=chain[1]).held_back) == [b"refs/heads/main"]
    mirror.history.ref("refs/heads/main", chain[0])
    assert list(mirror.follow(main=chain[1]).held_back) == [b"refs/heads/main"]
    assert mirror.follow(main=chain[3]).moved == 1


def test_a_dropped_ref_may_come_back_anywhere_where_the_policy_says_so(mirror: Mirror) -> None:
    chain = mirror.history.chain(3)
    mirror.let_in(chain[2])
    mirror.follow(main=chain[2], other=chain[2])
    mirror.follow(other=chain[2])
    mirror.lines = ["** catalogue non-fast-forward"]
    assert mirror.follow(other=chain[2], main=chain[0]).moved == 1


def test_a_tag_does_not_move_unless_the_policy_says_so(mirror: Mirror) -> None:
    chain = mirror.history.chain(2)
    again = mirror.history.tag(chain[0], "v1")
    mirror.let_in(chain[1], again)
    mirror.follow(tags_v1=chain[0])
    for other in (chain[1], again):
        assert "it is a tag" in mirror.follow(tags_v1=other).held_back[b"refs/tags/v1"]
    mirror.lines = ["refs/tags/** catalogue non-fast-forward"]
    assert mirror.follow(tags_v1=chain[1]).moved == 1


def test_who_is_ahead_of_the_catalogue_is_told_so_and_is_no_failure(mirror: Mirror) -> None:
    chain = mirror.history.chain(4)
    mirror.let_in(chain[3])
    mirror.follow(main=chain[1])
    mirror.history.ref("refs/heads/main", chain[3])
    for place in (chain[1], chain[2]):
        report = mirror.follow(main=place)
        assert (report.moved, report.held_back, list(report.ahead)) == (0, {}, [b"refs/heads/main"])
    # A catalogue that itself goes back is another thing.
    assert list(mirror.follow(main=chain[0]).held_back) == [b"refs/heads/main"]
    assert mirror.survey(main=chain[1])["refs/heads/main"] == (
        f"it is ahead of the catalogue, which has it at {chain[1].hex()}",
        False,
    )


def test_where_a_ref_stood_is_kept_before_it_is_forced_elsewhere_or_goes(mirror: Mirror) -> None:
    (base,) = mirror.history.chain(1)
    lost, new, local = (mirror.history.commit(base) for _ in range(3))
    mirror.let_in(lost, new, base)
    mirror.lines = ["** catalogue non-fast-forward"]
    mirror.follow(main=lost, topic=base)
    mirror.history.ref("refs/heads/main", local)  # pushed by plain git
    assert mirror.follow(main=new, topic=base).moved == 1
    was = {WAS.decode() + f"heads/main/{local.hex()}": local}
    assert mirror.history.refs("refs/gtfs/was") == was
    # What other refs reach needs none.
    assert mirror.follow(main=new).moved == 1
    assert mirror.history.refs("refs/gtfs/was") == was
    assert mirror.follow().moved == 1
    assert mirror.history.refs("refs/gtfs/was") == {**was, WAS.decode() + f"heads/main/{new.hex()}": new}
    # And it goes again with the need.
    mirror.history.ref("refs/heads/mine", local)
    mirror.follow()
    assert list(mirror.history.refs("refs/gtfs/was").values()) == [new]


def test_a_tag_object_that_a_ref_leaves_for_a_later_commit_is_kept(mirror: Mirror) -> None:
    chain = mirror.history.chain(2)
    tag = mirror.history.tag(chain[0], "v1")
    mirror.let_in(chain[1], tag)

    def follow(oid: ObjectId) -> RefReport:
        return follow_refs(mirror.state.repository, mirror.state.index, {b"refs/x/last": oid}, None, mirror.demands)

    for oid in (tag, chain[1]):
        assert follow(oid).moved == 1
    assert mirror.history.refs("refs/gtfs/was") == {WAS.decode() + f"x/last/{tag.hex()}": tag}


# -- one that cannot move -------------------------------------------------------------------------------------------


@pytest.fixture
def two(mirror: Mirror) -> tuple[ObjectId, ObjectId]:
    first, second = mirror.history.chain(2)
    mirror.let_in(second)
    return first, second


def stuck(mirror: Mirror, name: str, first: ObjectId, second: ObjectId) -> str:
    """The reason why one stays, while another moves, a start goes well, and status says the same."""
    report = mirror.follow(**{name: second, "zz": second, "aa": first})
    assert mirror.at("refs/heads/zz") == second and mirror.at("refs/heads/aa") == first
    (held,) = report.held_back.items()
    assert held[0] == b"refs/heads/" + name.encode()
    mirror.reassert()
    assert mirror.survey(**{name: second, "zz": second, "aa": first}) == {held[0].decode(): (held[1], False)}
    return held[1]


def test_a_name_that_is_a_directory_of_local_refs_holds_back_only_itself(mirror: Mirror, two: Any) -> None:
    mirror.history.ref("refs/heads/local/mine", two[0])
    assert "refs/heads/local/mine is here" in stuck(mirror, "local", *two)
    mirror.history.git("pack-refs", "--all")
    assert "refs/heads/local/mine is here" in stuck(mirror, "local", *two)
    mirror.history.ref("refs/heads/local/mine", None)
    assert mirror.follow(local=two[1], zz=two[1], aa=two[0]).moved == 1


def test_a_name_below_a_local_ref_holds_back_only_itself(mirror: Mirror, two: Any) -> None:
    mirror.history.ref("refs/heads/a", two[0])
    assert "refs/heads/a is here" in stuck(mirror, "a/b", *two)


def test_a_ref_whose_file_is_garbage_holds_back_only_itself(mirror: Mirror, two: Any) -> None:
    (mirror.history.path / "refs/heads/bad").write_bytes(b"garbage\n")
    assert "holds no object id" in stuck(mirror, "bad", *two)


def test_a_symbolic_ref_is_neither_followed_nor_replaced(mirror: Mirror, two: Any) -> None:
    (mirror.history.path / "refs/heads/gone").write_bytes(b"ref: refs/heads/nowhere\n")
    assert "symbolic ref to refs/heads/nowhere" in stuck(mirror, "gone", *two)
    (mirror.history.path / "refs/heads/gone").unlink()
    mirror.history.ref("refs/heads/strict", two[0])
    mirror.history.git("symbolic-ref", "refs/heads/alias", "refs/heads/strict")
    assert "symbolic ref to refs/heads/strict" in stuck(mirror, "alias", *two)
    assert mirror.at("refs/heads/strict") == two[0]


def test_the_lock_of_another_git_holds_back_only_its_ref_and_stays(mirror: Mirror, two: Any) -> None:
    lock = mirror.history.path / "refs/heads/busy.lock"
    lock.touch()
    assert "busy.lock is there" in stuck(mirror, "busy", *two)
    assert lock.exists()
    lock.unlink()


def test_a_locked_packed_refs_holds_back_removals_only(mirror: Mirror, two: Any) -> None:
    mirror.follow(main=two[0], old=two[0])
    lock = mirror.history.path / "packed-refs.lock"
    lock.touch()
    report = mirror.follow(main=two[1])
    assert (report.moved, list(report.held_back)) == (1, [b"refs/heads/old"])
    lock.unlink()
    assert mirror.survey(main=two[1]) == {"refs/heads/old": (GONE, True)}
    assert mirror.follow(main=two[1]).moved == 1
    assert mirror.history.refs() == {"refs/heads/main": two[1]}


def test_a_branch_that_would_hold_a_tag_holds_back_only_itself(mirror: Mirror, two: Any) -> None:
    tag = mirror.history.tag(two[0], "v1")
    mirror.let_in(tag)
    report = mirror.follow(main=two[0], bad=tag)
    assert list(report.held_back) == [b"refs/heads/bad"] and report.moved == 1


def test_what_only_git_sees_is_told_apart_by_few_processes(
    mirror: Mirror, two: Any, processes: Callable[..., int]
) -> None:
    """Rows that lie: the index calls unpacked what git lost."""
    lost = mirror.history.commit()
    mirror.let_in(lost)
    (mirror.history.path / "objects" / lost.hex()[:2] / lost.hex()[2:]).unlink()
    wanted = {f"n{n}": two[n % 2] for n in range(300)} | {"n77": lost, "n200": lost}
    processes()
    report = mirror.follow(**wanted)
    assert set(report.held_back) == {b"refs/heads/n77", b"refs/heads/n200"} and report.moved == 298
    assert processes() < 40


@pytest.mark.parametrize("contents", [b"", b"\0" * 41])
def test_an_empty_ref_file_whose_value_is_known_is_healed(mirror: Mirror, two: Any, contents: bytes) -> None:
    mirror.follow(main=two[0], other=two[0])
    for name in ("main", "other"):
        (mirror.history.path / "refs/heads" / name).write_bytes(contents)
    assert mirror.survey(main=two[0], other=two[0])["refs/heads/main"][1]
    assert mirror.reassert() == 2
    assert mirror.history.refs() == {"refs/heads/main": two[0], "refs/heads/other": two[0]}
    (mirror.history.path / "refs/heads/main").write_bytes(contents)
    assert mirror.follow(main=two[1], other=two[0]) == RefReport(1, {}, {})


def test_nothing_is_walked_again_of_what_a_sync_moved_refs_over(
    mirror: Mirror, two: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[ObjectId] = []
    walk = takeup.history

    def watched(*args: Any) -> Iterator[ObjectId]:
        for oid in walk(*args):
            walked.append(oid)
            yield oid

    mirror.state.index.meta.set_taken_up(())  # as of a mirror whose packs all came in reels
    monkeypatch.setattr(takeup, "history", watched)
    assert mirror.follow(main=two[0]).moved == 1
    assert mirror.state.take_up(Work(jobs=1)).packs == 0 == len(walked)
    assert mirror.follow(main=two[1], other=two[0]).moved == 2
    own = mirror.history.commit(two[1])
    mirror.history.ref("refs/heads/own", own)
    assert mirror.state.take_up(Work(jobs=1)).made == walked == [own]
    assert mirror.state.index.meta.taken_up() == {*two, own}


def test_an_empty_tip_is_healed_too(mirror: Mirror, two: Any) -> None:
    tip = mirror.history.path / TIPS.decode() / two[1].hex()
    mirror.history.ref(f"{TIPS.decode()}{two[1].hex()}", two[1])
    tip.write_bytes(b"")
    assert mirror.reassert() == 1
    assert tip.read_text().strip() == two[1].hex()


def test_a_ref_to_a_lost_object_stops_no_other_and_can_be_moved(mirror: Mirror, two: Any) -> None:
    lost = mirror.history.commit()
    mirror.follow(main=two[0], other=two[0])
    mirror.history.ref("refs/heads/other", lost)
    (mirror.history.path / "objects" / lost.hex()[:2] / lost.hex()[2:]).unlink()
    mirror.reassert()
    assert mirror.state.take_up(Work(jobs=1)).packs == 0
    assert mirror.follow(main=two[1], other=two[1]).held_back == {}
    assert mirror.history.refs() == {"refs/heads/main": two[1], "refs/heads/other": two[1]}


def test_a_recorded_move_that_the_policy_of_now_forbids_is_not_made_at_a_start(mirror: Mirror, two: Any) -> None:
    mirror.state.index.refs.change({b"refs/heads/main": two[0], b"refs/heads/other": two[0]})
    mirror.lines = ["refs/heads/main every-commit", "** catalogue"]
    assert mirror.reassert() == 1
    assert mirror.history.refs() == {"refs/heads/other": two[0]}


def test_a_recorded_move_that_the_catalogue_of_now_does_not_ask_for_is_not_made_at_a_start(
    mirror: Mirror, two: Any
) -> None:
    mirror.follow(main=two[0], other=two[0], third=two[0])
    mirror.history.ref("refs/heads/main", None)
    mirror.history.ref("refs/heads/other", None)
    (mirror.history.path / "refs/heads/third").write_bytes(b"")
    assert mirror.reassert({b"refs/heads/other"}) == 2
    assert mirror.history.refs() == {"refs/heads/other": two[0], "refs/heads/third": two[0]}


# -- HEAD, and what status says -------------------------------------------------------------------------------------


def test_head_follows_though_its_branch_is_held_back_or_unborn(mirror: Mirror, two: Any) -> None:
    mirror.lines = ["refs/heads/trunk every-commit", "** catalogue"]
    report = mirror.follow("refs/heads/trunk", trunk=two[0], main=two[0])
    assert list(report.held_back) == [b"refs/heads/trunk"]
    assert mirror.history.git("symbolic-ref", "HEAD") == b"refs/heads/trunk"
    mirror.follow("refs/heads/unborn", main=two[0])
    assert mirror.history.git("symbolic-ref", "HEAD") == b"refs/heads/unborn"


@pytest.mark.parametrize(
    ("local", "goes"),
    [
        ([], True),
        (["refs/heads/main every-commit by={alice}"], False),
        (["refs/heads/* every-commit by={alice}"], True),
        (["refs/heads/main every-commit by={alice}", "** every-commit"], False),
        (["refs/heads/main tag", "** every-commit"], True),
        (["refs/heads/main every-commit", "** every-commit non-fast-forward"], False),
        (["refs/heads/main catalogue threshold=2", "** catalogue"], False),
        (["refs/heads/trunk every-commit"], True),
        (["refs/heads/main catalogue"], True),  # which asks for no signature
    ],
)
def test_head_leaves_no_branch_of_which_the_owner_asks_more(
    mirror: Mirror, two: Any, local: list[str], goes: bool
) -> None:
    mirror.follow("refs/heads/main", main=two[0])
    mirror.local = [line.format(alice=mirror.keys["alice"]) for line in local]
    mirror.lines = ["refs/heads/trunk every-commit", "** catalogue"]  # whoever names HEAD writes these, too
    report = mirror.follow("refs/heads/trunk", trunk=two[0])
    assert (b"HEAD" not in report.held_back) == goes
    assert mirror.history.git("symbolic-ref", "HEAD") == (b"refs/heads/trunk" if goes else b"refs/heads/main")


def test_a_locked_head_holds_up_no_ref(mirror: Mirror, two: Any) -> None:
    lock = mirror.history.path / "HEAD.lock"
    lock.touch()
    report = mirror.follow("refs/heads/trunk", main=two[0])
    assert (report.moved, list(report.held_back)) == (1, [b"HEAD"])
    lock.unlink()


def test_what_could_move_is_said_apart_from_what_a_sync_cannot_help(mirror: Mirror, two: Any) -> None:
    unknown = mirror.history.commit()
    mirror.lines = ["refs/heads/strict every-commit", "** catalogue"]
    assert mirror.survey(main=two[0], strict=two[0], far=unknown) == {
        "refs/heads/main": (READY, True),
        "refs/heads/strict": (f"the commit is not signed ({two[0].hex()})", False),
        "refs/heads/far": ("what it would move to is not verified here yet", True),
    }
    report = mirror.follow(main=two[0], strict=two[0], far=unknown)
    assert report.late == {b"refs/heads/far"} < report.held_back.keys()
    assert mirror.survey(main=two[0]) == {}


# -- many -----------------------------------------------------------------------------------------------------------


def test_the_number_of_processes_does_not_grow_with_the_number_of_refs(
    mirror: Mirror, processes: Callable[..., int]
) -> None:
    many = 2200
    chain = mirror.history.chain(40, by="alice")
    mirror.let_in(chain[-1])
    mirror.lines = ["refs/heads/signed/** every-commit", "** catalogue"]

    def wanted(at: int) -> dict[str, ObjectId]:
        refs = {f"n{n}": chain[at + n % 10] for n in range(many)}
        return refs | {f"signed/n{n}": chain[at + n % 10] for n in range(many // 10)}

    counts = []
    for at in (0, 10, 20):
        processes()
        report = mirror.follow(**wanted(at))
        assert (report.moved, report.held_back) == (many + many // 10, {})
        counts.append(processes())
    assert mirror.follow().moved == many + many // 10
    counts.append(processes())
    assert max(counts[1:]) < 40, counts  # the first also runs gpgv for each commit
    assert counts[0] < 40 + 20, counts
    assert mirror.history.refs() == {}
