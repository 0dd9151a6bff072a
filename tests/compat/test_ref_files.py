# SPDX-License-Identifier: GPL-3.0-or-later
"""Many refs in one packed-refs file as git writes it, and the locks that a killed git leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from history import History
from waiting import WAIT_S

from gtfs.ids import ObjectId
from gtfs.layout import Layout
from gtfs.repo.ancestry import descending
from gtfs.repo.moving import Moving, sweep_moving
from gtfs.repo.packedrefs import RefMove
from gtfs.repo.reffiles import passed_over
from gtfs.repo.refs import move_refs, set_head
from gtfs.state.state import State

MANY = 100  # by packed-refs; by git update-ref if it is 30


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path / "r.git")
    (made.path / "gtfs").mkdir()
    return made


def moving_of(history: History) -> Path:
    return Layout.in_repository(history.path).moving


def names(count: int) -> list[bytes]:
    return [b"refs/heads/topic/n%d" % n for n in range(count)]


def git_finds_it_sound(history: History) -> None:
    assert history.git("fsck", "--connectivity-only", "--no-dangling") == b""
    listed = history.git("for-each-ref", "--format=%(objectname) %(refname)")
    history.git("pack-refs", "--all")  # git reads and writes all of it again
    assert history.git("for-each-ref", "--format=%(objectname) %(refname)") == listed


def test_a_ref_that_has_gone_is_not_taken_for_one_that_git_passes_over(history: History) -> None:
    history.ref("refs/heads/main", *history.chain(1))
    history.ref("refs/heads/directory/now", *history.chain(1))
    gone = [b"refs/heads/gone", b"refs/heads/main/below", b"refs/heads/directory", b"refs/heads/" + b"n" * 300]
    assert passed_over(history.repository, gone) == {}


@pytest.mark.parametrize("count", [30, MANY])
@pytest.mark.parametrize("pack", ["loose", "packed", "both"])
def test_refs_move_wherever_git_keeps_them(history: History, count: int, pack: str) -> None:
    first, second, third = history.chain(3)
    mine = "refs/heads/mine"
    history.ref(mine, first)
    for name in names(count):
        history.ref(name.decode(), third)
    if pack != "loose":
        history.git("pack-refs", "--all")
    if pack == "both":
        for name in names(count // 2):
            history.ref(name.decode(), first)
    stand = history.refs()
    assert move_refs(history.repository, [RefMove(n, stand[n.decode()], second) for n in names(count)]) == {}
    assert history.refs() == {mine: first} | {name.decode(): second for name in names(count)}
    git_finds_it_sound(history)
    assert move_refs(history.repository, [RefMove(n, second, None) for n in names(count)]) == {}
    assert history.refs() == {mine: first}
    git_finds_it_sound(history)
    assert not list(history.path.rglob("*.lock"))


@pytest.mark.parametrize("count", [30, MANY])
def test_each_ref_is_compared_before_it_moves(history: History, count: int) -> None:
    first, second = history.chain(2)
    history.ref("refs/heads/topic/n0", second)
    history.git("pack-refs", "--all")
    history.ref("refs/heads/topic/n1", second)
    moves = [RefMove(n, None, first) for n in names(count)]
    moves[2] = RefMove(moves[2].name, second, first)  # is not there
    refused = move_refs(history.repository, moves)
    assert set(refused) == {b"refs/heads/topic/n%d" % n for n in range(3)}
    assert history.refs()["refs/heads/topic/n0"] == history.refs()["refs/heads/topic/n1"] == second
    assert len(history.refs()) == count - 1


@pytest.mark.parametrize("count", [30, MANY])
def test_a_name_that_was_taken_since_the_caller_looked_is_refused_alone(history: History, count: int) -> None:
    (commit,) = history.chain(1)
    history.ref("refs/heads/topic/n0/x", commit)
    history.git("pack-refs", "--all")
    refused = move_refs(history.repository, [RefMove(n, None, commit) for n in names(count)], names=[])
    assert set(refused) == {b"refs/heads/topic/n0"}
    assert len(history.refs()) == count
    git_finds_it_sound(history)


def test_tags_are_packed_with_what_they_name(history: History) -> None:
    (commit,) = history.chain(1)
    outer = history.tag(history.tag(commit, "inner"), "outer", kind="tag")
    moves = [RefMove(b"refs/tags/n%d" % n, None, outer if n % 2 else commit) for n in range(MANY)]
    assert move_refs(history.repository, moves) == {}
    made = (history.path / "packed-refs").read_bytes()
    history.ref("refs/heads/x", commit)
    history.git("pack-refs", "--all")
    history.ref("refs/heads/x", None)
    assert (history.path / "packed-refs").read_bytes() == made


def test_among_many_a_lost_object_and_a_branch_with_a_tag_are_refused_alone(history: History) -> None:
    (commit,) = history.chain(1)
    tag = history.tag(commit, "v1")
    moves = [RefMove(n, None, commit) for n in names(MANY)]
    moves += [RefMove(b"refs/heads/bad", None, tag), RefMove(b"refs/heads/lost", None, ObjectId(b"\1" * 20))]
    assert set(move_refs(history.repository, moves)) == {b"refs/heads/bad", b"refs/heads/lost"}
    assert len(history.refs()) == MANY


def test_a_git_that_moves_a_ref_meanwhile_wins(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = history.chain(2)
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        history.ref("refs/heads/topic/n7", second)
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    assert list(move_refs(history.repository, [RefMove(n, None, first) for n in names(MANY)])) == [
        b"refs/heads/topic/n7"
    ]
    assert history.refs()["refs/heads/topic/n7"] == second


# -- locks ----------------------------------------------------------------------------------------------------------


def killed(history: History, count: int, oid: ObjectId, library: Path) -> None:
    """A process that moves refs, killed with its git."""
    code = (
        "import sys; from pathlib import Path\n"
        "from gtfs.repo.repository import open_repository; from gtfs.repo.refs import RefMove, move_refs\n"
        "oid = bytes.fromhex(sys.argv[2])\n"
        f"moves = [RefMove(b'refs/heads/topic/n%d' % n, None, oid) for n in range({count})]\n"
        "move_refs(open_repository(Path(sys.argv[1])), moves)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(history.path), oid.hex()],
        start_new_session=True,
        env={**os.environ, "LD_PRELOAD": str(library)},
    ) as process:
        assert process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def dies_at_rename(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library to preload: whoever renames a lock of a ref dies instead, and its parents with it."""
    source = tmp_path_factory.mktemp("dies") / "dies.c"
    source.write_text(
        """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <signal.h>
        #include <string.h>
        #include <unistd.h>
        int rename(const char *old, const char *new)
        {
            int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
            const char *end = strrchr(old, '.');
            if (end && (strstr(old, "/n7.lock") || strcmp(end, ".new") == 0))
                kill(0, SIGKILL);
            return real(old, new);
        }
        """
    )
    library = source.with_suffix(".so")
    command = ["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True, timeout=WAIT_S)
    return library


@pytest.mark.parametrize("count", [30, MANY])
def test_locks_of_a_git_that_was_killed_with_us_are_swept(history: History, count: int, dies_at_rename: Path) -> None:
    (oid,) = history.chain(1)
    killed(history, count, oid, dies_at_rename)
    left = {str(p.relative_to(history.path)) for p in history.path.rglob("*.lock")}
    assert left and history.git("update-ref", "refs/heads/topic/n7", oid.hex(), code=None) == b""
    swept = {name.decode() for name in sweep_moving(history.repository)}
    assert left <= swept and not list(history.path.rglob("*.lock")) and not (history.path / "packed-refs.new").exists()
    stand = history.refs()
    moves = [RefMove(n, stand.get(n.decode()), oid) for n in names(count)]
    assert move_refs(history.repository, moves) == {}
    assert history.refs() == {name.decode(): oid for name in names(count)}
    assert sweep_moving(history.repository) == []


def write_journal(history: History, refs: dict[bytes, ObjectId | None]) -> None:
    with Moving(history.repository, refs):
        text = moving_of(history).read_bytes()
    moving_of(history).write_bytes(text)


def test_a_start_takes_away_what_a_killed_git_left(history: History) -> None:
    (first,) = history.chain(1)
    write_journal(history, {b"refs/heads/a": first, b"HEAD": None, b"packed-refs": None})
    locks = [history.path / f"{name}.lock" for name in ("refs/heads/a", "HEAD", "packed-refs", "gtfs/config")]
    for lock in [*locks, history.path / "packed-refs.new"]:
        lock.touch()
    with State(history.repository) as state:
        assert not any(lock.exists() for lock in locks) and not (history.path / "packed-refs.new").exists()
        state.config.set("validdays", "7")
        move_refs(history.repository, [RefMove(b"refs/heads/a", None, first)])
        assert set_head(history.repository, b"refs/heads/a") is None


def test_locks_that_are_not_ours_stay(history: History) -> None:
    first, second = history.chain(2)
    write_journal(history, {b"refs/heads/a": first, b"refs/heads/b": first, b"refs/heads/old": first})
    ours = history.path / "refs/heads/a.lock"
    others = [history.path / name for name in ("refs/heads/b.lock", "refs/heads/c.lock", "refs/heads/old.lock")]
    ours.write_text(first.hex() + "\n")
    others[0].write_text(second.hex() + "\n")  # not what we would write
    others[1].touch()  # not a ref that we moved
    others[2].touch()
    os.utime(others[2], (time.time() - 1000,) * 2)  # before we began
    others.append(history.path / "packed-refs.lock")
    others[3].touch()
    assert sweep_moving(history.repository) == [b"refs/heads/a.lock"]
    assert all(lock.exists() for lock in others) and not ours.exists()


def test_an_interruption_leaves_no_lock(history: History) -> None:
    (first,) = history.chain(1)
    lock = history.path / "refs/heads/a.lock"
    with pytest.raises(KeyboardInterrupt), Moving(history.repository, {b"refs/heads/a": first}):
        lock.touch()
        raise KeyboardInterrupt
    assert not lock.exists()


def test_a_lock_that_a_living_git_takes_meanwhile_stays(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = history.chain(1)
    write_journal(history, {b"refs/heads/a": first})
    lock = history.path / "refs/heads/a.lock"
    lock.touch()

    def meanwhile(_s: float) -> None:
        lock.unlink()
        (history.path / "other").touch()  # so that the new lock is another inode
        lock.touch()

    monkeypatch.setattr(time, "sleep", meanwhile)
    assert sweep_moving(history.repository) == []
    assert lock.exists()


def test_the_end_of_a_git_that_outlived_us_is_waited_for(history: History) -> None:
    (first,) = history.chain(1)
    write_journal(history, {b"refs/heads/a": first})
    lock = history.path / "refs/heads/a.lock"
    lock.touch()
    code = (
        "import fcntl, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDWR); fcntl.flock(fd, fcntl.LOCK_EX); print('ready', flush=True)\n"
        "sys.stdin.readline(); os.rename(sys.argv[2], sys.argv[2].removesuffix('.lock'))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(moving_of(history)), str(lock)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as living:  # fmt: skip
        assert living.stdin and living.stdout and living.stdout.readline() == b"ready\n"
        with subprocess.Popen(
            [sys.executable, "-c", "import sys; from pathlib import Path\n"
             "from gtfs.repo.moving import sweep_moving; from gtfs.repo.repository import open_repository\n"
             "print(sweep_moving(open_repository(Path(sys.argv[1]))))", str(history.path)],
            stdout=subprocess.PIPE,
        ) as sweeper:  # fmt: skip
            living.stdin.write(b"\n")
            living.stdin.close()
            assert sweeper.stdout and sweeper.stdout.read() == b"[]\n"
    assert (history.path / "refs/heads/a").exists()


# -- ancestors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [1, 3])
def test_ancestors_of_many_pairs_are_those_that_git_finds(history: History, copies: int) -> None:
    """A history with merges, all pairs of it; one by one and in one walk."""
    trunk = history.chain(6)
    side = history.chain(3, trunk[1])
    merge = history.commit(trunk[4], side[2])
    tag = history.tag(merge, "v1")
    lost = ObjectId(b"\1" * 20)
    oids = [*trunk, *side, merge, tag, lost][:: 1 if copies > 1 else 4]
    pairs = {(a, b) for a in oids for b in oids}
    if copies == 1:
        pairs = set(list(pairs)[:9])
    found = descending(history.repository, pairs)
    for old, new in pairs:
        command = ["git", f"--git-dir={history.path}", "merge-base", "--is-ancestor", old.hex(), new.hex()]
        is_ancestor = subprocess.run(command, capture_output=True).returncode == 0
        assert ((old, new) in found) is (is_ancestor or old == new), (old.hex(), new.hex())
