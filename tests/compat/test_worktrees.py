# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkouts that follow refs: whole from one moment to the next, byte for byte git's, and nobody else's files."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from history import History, bomb
from keys import shared_keys

from gtfs.ids import ObjectId
from gtfs.ingest.refjudge import Demands
from gtfs.ingest.refmoves import follow_refs
from gtfs.repo import checkout
from gtfs.repo.history import read_head_commit
from gtfs.repo.work import Work
from gtfs.state import worktrees
from gtfs.state.config import BadConfig
from gtfs.state.state import State
from gtfs.state.worktrees import (
    BadWorktree,
    WorktreeSeen,
    add_worktrees,
    follow_worktrees,
    parse_worktree,
    see_worktrees,
)
from gtfs.trust.policy import parse_policy


class Web:
    """A repository with a checkout of its HEAD at ``path``."""

    def __init__(self, state: State, history: History, path: Path) -> None:
        self.state, self.history, self.path = state, history, path
        self.beside = path.with_name(path.name + ".gtfs")
        history.git("symbolic-ref", "HEAD", "refs/heads/main")
        add_worktrees(state, [parse_worktree(str(path))])

    def commit(self, files: dict[str, bytes], ref: str = "refs/heads/main") -> str:
        oid = self.history.commit(tree=self.history.tree_of(files))
        self.history.ref(ref, oid)
        return oid.hex()

    def look(self, *, stop: bool = False) -> WorktreeSeen:
        (seen,) = follow_worktrees(self.state, lambda: stop)
        return seen

    def follow(self, files: dict[str, bytes]) -> str:
        oid = self.commit(files)
        seen = self.look()
        assert (seen.at, seen.trouble) == (oid, None)
        return oid

    def versions(self) -> set[str]:
        return {path.name for path in self.beside.iterdir() if not path.name.startswith(".")}

    def age(self, version: str, seconds: float) -> None:
        """As if the link had left it so long ago."""
        then = time.time() - seconds
        os.utime(self.beside / version, (then, then))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    history = History(tmp_path / "a.git")
    with State(history.repository) as state:
        yield Web(state, history, tmp_path / "www")


def test_a_checkout_is_a_link_that_leads_to_each_next_commit(web: Web) -> None:
    first = web.follow({"a": b"1", "b": b"same"})
    opened = os.open(web.path, os.O_RDONLY | os.O_DIRECTORY)
    second = web.follow({"a": b"2", "b": b"same"})
    assert os.readlink(web.path) == f"www.gtfs/{second}"
    assert (web.path / "a").read_bytes() == b"2"
    # Whoever was in it reads on what he began to read.
    with open(os.open("a", os.O_RDONLY, dir_fd=opened)) as file:
        assert file.read() == "1"
    os.close(opened)
    assert web.versions() == {first, second}
    assert not list(web.path.parent.glob(".link-*")) and not list(web.beside.glob(".making-*"))


def test_a_file_that_did_not_change_keeps_its_time(web: Web) -> None:
    web.follow({"a": b"1", "b": b"same"})
    os.utime(web.path / "b", ns=(1_700_000_000_123_456_789,) * 2)
    web.follow({"a": b"2", "b": b"same"})
    assert (web.path / "b").stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert (web.path / "a").stat().st_mtime > 1_700_000_100


def test_no_version_is_a_second_name_of_another_ones_file(web: Web) -> None:
    web.follow({"a": b"1", "b": b"same"})
    web.follow({"a": b"2", "b": b"same"})
    assert (web.path / "b").stat().st_nlink == 1


def test_files_are_as_git_has_them_whatever_the_repository_says_of_them(web: Web) -> None:
    history = web.history
    text = b"a\r\n$Id$ $Format:%H$\n\xff"
    attributes = b"* text eol=crlf ident filter=evil working-tree-encoding=UTF-16 export-ignore export-subst\n"
    history.git("config", "filter.evil.smudge", f"touch {web.path.parent}/ran; cat")
    history.git("config", "core.hooksPath", str(web.path.parent))
    hook = web.path.with_name("post-checkout")
    hook.write_text(f"#!/bin/sh\ntouch {web.path.parent}/ran\n")
    hook.chmod(0o755)
    blob, link = history.put("blob", text).hex(), history.put("blob", b"../outside").hex()
    lines = [
        f"100644 blob {history.put('blob', attributes).hex()}\t.gitattributes",
        f"100644 blob {blob}\ta b\tc",
        f"100755 blob {blob}\trun",
        f"120000 blob {link}\tlink",
        f"160000 commit {'1' * 40}\tsub",
    ]
    tree = history.git("mktree", "--missing", "-z", stdin="\0".join([*lines, ""]).encode()).decode()
    top = history.git("mktree", stdin=f"040000 tree {tree}\tdir\n".encode()).decode()
    history.ref("refs/heads/main", history.commit(tree=ObjectId(bytes.fromhex(top))))
    assert web.look().trouble is None
    here = web.path / "dir"
    assert (here / "a b\tc").read_bytes() == (here / "run").read_bytes() == text
    assert os.access(here / "run", os.X_OK) and not (here / "a b\tc").stat().st_mode & 0o111
    assert os.readlink(here / "link") == "../outside" and list((here / "sub").iterdir()) == []
    assert not (web.path.parent / "ran").exists() and not (web.path / ".git").exists()


def test_a_link_longer_than_any_can_be_is_refused_and_not_read(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    long = web.history.put("blob", b"a" * 4096).hex()
    tree = web.history.git("mktree", stdin=f"120000 blob {long}\tlink\n".encode()).decode()
    web.history.ref("refs/heads/main", web.history.commit(tree=ObjectId(bytes.fromhex(tree))))
    monkeypatch.setattr(checkout.CatFile, "stream", lambda *_: pytest.fail("it was read"))
    assert "leads nowhere" in str(web.look().trouble)


def test_directories_too_deep_in_each_other_to_be_taken_away_again_are_refused(web: Web) -> None:
    def commit_at(depth: int) -> None:
        path = "/".join(["d"] * depth + ["f"])
        head = "commit refs/heads/main\ncommitter A U Thor <author@example.org> 1700000000 +0000\ndata 0\n"
        web.history.git(
            "fast-import", "--quiet", "--force", stdin=f"{head}M 100644 inline {path}\ndata 1\nx\n".encode()
        )

    commit_at(1200)
    seen = web.look()
    assert seen.at is None and "over the limit of 256 directories" in str(seen.trouble)
    commit_at(checkout.DEPTH)
    seen = web.look()
    assert seen.trouble is None
    web.follow({"a": b"1"})
    web.age(str(seen.at), worktrees.KEPT_S + 1)
    web.look()
    assert str(seen.at) not in web.versions()


@pytest.mark.parametrize("name", [".git", ".GIT", ".."])
def test_a_name_that_leads_out_or_into_a_git_directory_is_refused(web: Web, name: str) -> None:
    history = web.history
    raw = b"100644 %s\0" % name.encode() + history.put("blob", b"x")
    tree = history.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw).decode()
    history.ref("refs/heads/main", history.commit(tree=ObjectId(bytes.fromhex(tree))))
    seen = web.look()
    assert seen.at is None and "cannot be a file's name" in str(seen.trouble)


def test_nothing_is_written_through_a_link_that_a_tree_holds_beside_a_directory(web: Web, tmp_path: Path) -> None:
    history = web.history
    (tmp_path / "outside").mkdir()
    inner = history.tree_of({"f": b"x"})
    link = history.put("blob", str(tmp_path / "outside").encode())
    raw = b"120000 d\0" + link + b"40000 d\0" + inner
    tree = history.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw).decode()
    history.ref("refs/heads/main", history.commit(tree=ObjectId(bytes.fromhex(tree))))
    assert web.look().trouble is not None
    assert list((tmp_path / "outside").iterdir()) == [] and web.versions() == set()


def test_a_ref_that_is_not_there_yet_or_that_went_is_named_and_nothing_else_stops(web: Web, tmp_path: Path) -> None:
    other = parse_worktree(f"{tmp_path}/rel@refs/tags/v1")
    assert add_worktrees(web.state, [other])
    first = web.commit({"a": b"1"})
    seen = {each.worktree.ref: each for each in follow_worktrees(web.state, lambda: False)}
    assert seen["HEAD"].at == first and "v1 leads to no commit" in str(seen["refs/tags/v1"].trouble)
    tag = web.history.tag(ObjectId(bytes.fromhex(first)), "v1")
    web.history.ref("refs/tags/v1", tag)
    assert [each.at for each in follow_worktrees(web.state, lambda: False)] == [first, first]
    web.history.ref("refs/heads/main", None)
    gone = follow_worktrees(web.state, lambda: False)[0]
    assert (gone.at, gone.wanted) == (first, None) and "HEAD leads to no commit" in str(gone.trouble)
    assert (web.path / "a").read_bytes() == b"1"


def test_what_a_short_name_means_is_found_out_once(web: Web) -> None:
    first = web.commit({"a": b"1"})

    def settled(name: str) -> list[str]:
        add_worktrees(web.state, [parse_worktree(f"{web.path}@{name}")])
        return web.state.config.get_all("worktree")

    assert settled("later") == [f"{web.path}@refs/heads/later"]  # neither is there
    web.history.ref("refs/tags/later", ObjectId(bytes.fromhex(first)))
    assert settled("later") == [f"{web.path}@refs/heads/later"]  # as it was
    assert "refs/tags/later is there, and not what is followed" in str(web.look().trouble)
    web.history.ref("refs/tags/v1", ObjectId(bytes.fromhex(first)))
    assert settled("v1") == [f"{web.path}@refs/tags/v1"]
    web.commit({"a": b"2"}, "refs/heads/v1")
    assert settled("v1") == [f"{web.path}@refs/tags/v1"] and web.look().at == first
    assert settled("main") == [f"{web.path}@refs/heads/main"]
    assert settled("v1") == [f"{web.path}@refs/heads/v1"]  # of both the branch


@pytest.mark.parametrize("ref", ["main", "refs/heads/main", "HEAD"])
@pytest.mark.parametrize("tag", ["main", "refs/heads/main", "HEAD"])
def test_no_tag_takes_the_place_of_a_branch_that_went(web: Web, ref: str, tag: str) -> None:
    web.state.config.set("worktree", f"{web.path}@{ref}")  # as by hand
    first = web.follow({"a": b"1"})
    second = web.commit({"a": b"2"}, f"refs/tags/{tag}")
    web.history.ref("refs/heads/main", None)
    seen = web.look()
    assert (seen.at, seen.wanted) == (first, None) and "leads to no commit" in str(seen.trouble) and second != first
    assert read_head_commit(web.state.repository) is None
    # Nor may whoever asks for it once more, as a script does, be led there.
    add_worktrees(web.state, [parse_worktree(f"{web.path}@{ref}")])
    assert web.look().at == first


def test_whoever_signs_catalogues_alone_leads_no_checkout_of_a_signed_branch_elsewhere(tmp_path: Path) -> None:
    keys = shared_keys()
    history = History(tmp_path / "m.git", keys)
    history.git("symbolic-ref", "HEAD", "refs/heads/main")
    good = history.commit(tree=history.tree_of({"a": b"1"}), by="alice")
    bad = history.commit(tree=history.tree_of({"a": b"2"}))
    demands = Demands([parse_policy(f"refs/heads/main every-commit by={keys['alice']}")], [], keys.ring)
    with State(history.repository) as state:
        for oid in (good, bad):
            history.ref("refs/made/x", oid)
            state.take_up(Work(jobs=1))
        history.ref("refs/made/x", None)

        def follow(head: bytes, refs: dict[bytes, ObjectId]) -> tuple[dict[bytes, str], list[str | None]]:
            report = follow_refs(state.repository, state.index, refs, head, demands)
            return report.held_back, [each.at for each in follow_worktrees(state, lambda: False)]

        both = [f"{tmp_path}/branch@main", f"{tmp_path}/head"]
        assert add_worktrees(state, list(map(parse_worktree, both)))
        main, www = b"refs/heads/main", [good.hex()] * 2
        assert follow(main, {main: good}) == ({}, www)
        assert follow(main, {main: bad})[1] == www
        held_back, at = follow(b"refs/heads/x", {b"refs/tags/main": bad, b"refs/tags/HEAD": bad, b"refs/heads/x": bad})
        assert "asks more of refs/heads/main, where HEAD is" in held_back[b"HEAD"] and at == www
        assert not {b"refs/heads/main"} & state.index.refs.held().keys()  # a deletion asks no signature
        assert all(each.trouble for each in see_worktrees(state))
        history.git("symbolic-ref", "HEAD", "refs/heads/x")  # the owner's word
        assert follow(b"refs/heads/x", {b"refs/heads/x": bad}) == ({}, [good.hex(), bad.hex()])


@pytest.mark.parametrize("limit", ["files and directories", "bytes of names"])
def test_a_few_trees_that_stand_for_endless_files_are_refused_at_once(
    web: Web, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    first = web.follow({"a": b"1"})
    monkeypatch.setattr(checkout, "LISTED_BYTES" if limit == "bytes of names" else "FILES", 100_000)
    web.history.ref("refs/heads/main", bomb(web.history, levels=10, names=16))  # 10 ** 12 files
    seen = web.look()
    assert seen.at == first and f"over the limit of 100000 {limit}" in str(seen.trouble)
    assert web.versions() == {first} and not list(web.beside.glob(".making-*"))


def empty_trees(history: History) -> ObjectId:
    """A commit that stands for 10 ** 14 directories without a file."""
    oid = history.put("tree", b"")
    for _ in range(12):
        lines = "".join(f"040000 tree {oid.hex()}\t{n:02}\n" for n in range(16))
        oid = ObjectId(bytes.fromhex(history.git("mktree", stdin=lines.encode()).decode()))
    return history.commit(tree=oid)


def test_endless_directories_without_a_file_are_refused_at_once(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    first = web.follow({"a": b"1"})
    monkeypatch.setattr(checkout, "FILES", 100_000)
    web.history.ref("refs/heads/main", empty_trees(web.history))
    seen = web.look()
    assert seen.at == first and "over the limit of 100000 files and directories" in str(seen.trouble)


def test_a_long_list_ends_with_the_node(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    first = web.follow({"a": b"1"})
    monkeypatch.setattr(checkout, "_LOOK_S", 0.0)
    web.history.ref("refs/heads/main", empty_trees(web.history))
    (seen,) = follow_worktrees(web.state, StopAt(3))
    assert seen.at == first and "was ended" in str(seen.trouble)


def test_files_that_would_fill_the_disk_are_not_begun_with(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    first = web.follow({"a": b"1"})
    free = os.statvfs(web.path.parent)
    size = free.f_bavail * free.f_frsize // 16**3
    monkeypatch.setattr(checkout, "_BLOCK", size)  # as if each of 4096 small files had so much
    web.history.ref("refs/heads/main", bomb(web.history, levels=3, names=16))
    seen = web.look()
    assert seen.at == first and "free, of which a tenth stays so" in str(seen.trouble)
    assert web.versions() == {first}


def test_what_lies_beside_is_neither_a_link_nor_another_users(web: Web, tmp_path: Path) -> None:
    (tmp_path / "theirs" / ".making-x").mkdir(parents=True)
    (tmp_path / "theirs" / ".repository").write_bytes(os.fsencode(web.history.repository.path) + b"\n")
    web.beside.symlink_to(tmp_path / "theirs")
    web.commit({"a": b"1"})
    assert "is a link, or another user's" in str(web.look().trouble)
    assert (tmp_path / "theirs" / ".making-x").exists()
    web.beside.unlink()
    (tmp_path / "theirs").rename(web.beside)
    os.chown(web.beside, 12345, 12345)
    assert "is a link, or another user's" in str(web.look().trouble)
    assert (web.beside / ".making-x").exists()


def test_what_cannot_be_removed_is_told_and_stops_no_next_commit(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.follow({"a": b"1"})
    second = web.commit({"a": b"2"})
    (web.beside / ".making-1" / "half").mkdir(parents=True)
    rmdir = os.rmdir

    def refusing(path: Any, *, dir_fd: int | None = None) -> None:
        if path == "half":
            raise PermissionError(13, "Permission denied", path)
        rmdir(path, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", refusing)
        seen = web.look()
    assert (seen.at, seen.wanted) == (second, second) and "Permission denied" in str(seen.trouble)
    assert web.look().trouble is None and not list(web.beside.glob(".making-*"))


@pytest.mark.parametrize("what", ["file", "directory", "link", "beside"])
def test_what_is_somebody_elses_stays(web: Web, tmp_path: Path, what: str) -> None:
    if what == "file":
        web.path.write_text("mine")
    elif what == "directory":
        (web.path / "mine").mkdir(parents=True)
    elif what == "link":
        web.path.symlink_to(tmp_path)
    else:
        (web.beside / ("a" * 40)).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    web.commit({"a": b"1"})
    seen = web.look()
    assert seen.at is None and "move it away" in str(seen.trouble)
    assert [path for path in before if not os.path.lexists(path)] == []
    with pytest.raises(BadWorktree):
        add_worktrees(web.state, [parse_worktree(f"{web.path}@other")])


def test_two_repositories_never_share_a_checkout(web: Web, tmp_path: Path) -> None:
    first = web.follow({"a": b"1"})
    other = History(tmp_path / "b.git")
    with State(other.repository) as state, pytest.raises(BadWorktree, match="is a checkout of"):
        add_worktrees(state, [parse_worktree(str(web.path))])
    assert web.look().at == first


def test_a_checkout_that_was_deleted_is_made_again(web: Web) -> None:
    first = web.follow({"a": b"1"})
    web.path.unlink()
    assert web.look().at == first and (web.path / "a").exists()
    subprocess.run(["rm", "-r", web.path, web.beside], check=True)
    assert web.look().at == first and (web.path / "a").exists()


def test_old_versions_go_once_nobody_should_be_reading_them(web: Web) -> None:
    first = web.follow({"a": b"1"})
    second = web.follow({"a": b"2"})
    third = web.follow({"a": b"3"})
    assert web.versions() == {first, second, third}
    # A fourth waits until the first has been left for a minute.
    fourth = web.commit({"a": b"4"})
    seen = web.look()
    assert (seen.at, seen.wanted, seen.trouble) == (third, fourth, None) and seen.due_s is not None
    web.age(first, worktrees.LEAST_S + 1)
    assert web.look().at == fourth
    assert web.versions() == {second, third, fourth}
    web.age(second, worktrees.LEAST_S + 1)
    web.age(third, worktrees.LEAST_S + 1)
    web.look()
    assert web.versions() == {third, fourth}
    web.age(third, worktrees.KEPT_S + 1)
    assert web.look().due_s is None
    assert web.versions() == {fourth}


def test_a_clock_that_was_set_back_keeps_no_version_for_ever(web: Web) -> None:
    first, second = web.follow({"a": b"1"}), web.follow({"a": b"2"})
    web.age(first, -1e6)
    web.look()
    assert web.versions() == {second}


def test_where_the_ref_goes_back_the_version_that_is_there_is_used(web: Web) -> None:
    first, second = web.follow({"a": b"1"}), web.follow({"a": b"2"})
    inode = (web.beside / first / "a").stat().st_ino
    web.history.ref("refs/heads/main", ObjectId(bytes.fromhex(first)))
    assert web.look().at == first
    assert (web.path / "a").stat().st_ino == inode and web.versions() == {first, second}


@pytest.mark.parametrize("step", ["write", "sync", "rename"])
def test_a_full_disk_leaves_the_version_before_and_nothing_of_the_new_one(
    web: Web, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first = web.follow({"a": b"1"})
    second = web.commit({"a": b"2"})

    def full(*args: Any, **more: Any) -> None:
        raise OSError(28, os.strerror(28), str(web.beside))

    with monkeypatch.context() as patched:
        if step == "rename":
            patched.setattr(Path, "rename", full)
        else:
            patched.setattr(checkout, f"_{step}", full)
        seen = web.look()
    assert (seen.at, seen.wanted) == (first, second) and "No space left" in str(seen.trouble)
    assert (web.path / "a").read_bytes() == b"1"
    assert web.versions() == {first} and not list(web.beside.glob(".making-*"))
    assert web.look().at == second


def test_what_a_crash_left_is_swept_and_an_end_in_between_is_made_good(web: Web) -> None:
    first = web.follow({"a": b"1"})
    second = web.commit({"a": b"2"})
    assert "was ended" in str(follow_worktrees(web.state, StopAt(1))[0].trouble)
    (web.beside / ".making-1" / "half").mkdir(parents=True)
    web.path.with_name(".link-www").symlink_to("nowhere")
    assert (see_worktrees(web.state)[0].at, see_worktrees(web.state)[0].wanted) == (first, second)
    assert web.look().at == second
    assert not list(web.beside.glob(".making-*")) and not os.path.lexists(web.path.with_name(".link-www"))


class StopAt:
    """True from the second question on."""

    def __init__(self, after: int) -> None:
        self._left = after

    def __call__(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize("text", ["relative", "/", "/a/../b", "/a@", "/a@x..y", "/a@refs/gtfs/x", "/a@-", "/a@x\n"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(BadConfig):
        parse_worktree(text)


def test_the_last_at_parts_path_and_ref() -> None:
    assert parse_worktree("/a@b@refs/tags/v1").path == Path("/a@b")
    assert parse_worktree("/srv/www@release/1.0").ref == "release/1.0"
    assert str(parse_worktree("/srv/www")) == "/srv/www@HEAD"


def test_a_path_that_is_set_again_follows_another_ref(web: Web) -> None:
    first = web.follow({"a": b"1"})
    assert not add_worktrees(web.state, [parse_worktree(str(web.path))])
    second = web.commit({"a": b"2"}, "refs/heads/next")
    assert add_worktrees(web.state, [parse_worktree(f"{web.path}@next")])
    assert web.state.config.get_all("worktree") == [f"{web.path}@refs/heads/next"]
    assert web.look().at == second != first


def test_git_worktree_add_works_beside_it(web: Web, tmp_path: Path) -> None:
    web.follow({"a": b"1"})
    web.history.git("worktree", "add", "--quiet", str(tmp_path / "own"), "main")
    second = web.follow({"a": b"2"})
    git = ["git", "-C", str(tmp_path / "own")]
    assert subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip() == second
    subprocess.run([*git, "reset", "--quiet", "--hard"], check=True)
    assert (tmp_path / "own" / "a").read_bytes() == b"2"
