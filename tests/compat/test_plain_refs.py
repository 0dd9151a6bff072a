# SPDX-License-Identifier: GPL-3.0-or-later
"""Refs that are read without git, where they are as plain as git writes them: what git says is what is read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gtfs.ids import SHA1, SHA256, ObjectFormat, ObjectId
from gtfs.repo.history import read_head, read_head_commit, read_places, read_refs
from gtfs.repo.plainrefs import read_plain, read_plain_head
from gtfs.repo.repository import Repository, create_repository


def git(repository: Repository, *words: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", "--git-dir", str(repository.path), *words], input=stdin, check=True, capture_output=True
    ).stdout


def as_git_says(repository: Repository) -> dict[bytes, ObjectId]:
    out = git(repository, "for-each-ref", "--format=%(objectname) %(refname)")
    return {line.split()[1]: ObjectId(bytes.fromhex(line.split()[0].decode())) for line in out.splitlines()}


def make(path: Path, fmt: ObjectFormat = SHA1) -> tuple[Repository, str]:
    repository = create_repository(path, fmt)
    tree = git(repository, "mktree").decode().strip()
    who = {f"GIT_{w}_{p}": v for w in ("AUTHOR", "COMMITTER") for p, v in (("NAME", "a"), ("EMAIL", "a@b"))}
    command = ["git", "--git-dir", str(repository.path), "commit-tree", tree, "-m", "x"]
    done = subprocess.run(command, env={**os.environ, **who}, check=True, capture_output=True)
    return repository, done.stdout.decode().strip()


@pytest.mark.parametrize("fmt", [SHA1, SHA256], ids=str)
def test_single_files_and_packed_refs_are_read_as_git_reads_them(tmp_path: Path, fmt: ObjectFormat) -> None:
    repository, commit = make(tmp_path / "r.git", fmt)
    assert read_plain(repository) == {}
    for name in ("refs/heads/main", "refs/heads/a/b.c", "refs/tags/v1.0-rc1", "refs/gtfs/tips/x", "refs/stash"):
        git(repository, "update-ref", name, commit)
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "tag", "-a", "-m", "x", "v2", commit)
    assert read_plain(repository) == as_git_says(repository)
    git(repository, "pack-refs", "--all")
    assert read_plain(repository) == as_git_says(repository)
    tree = git(repository, "rev-parse", f"{commit}^{{tree}}").decode().strip()
    git(repository, "update-ref", "refs/tags/v1.0-rc1", tree)
    git(repository, "update-ref", "-d", "refs/stash")
    git(repository, "update-ref", "refs/heads/new", commit)
    plain = read_plain(repository)
    assert plain == as_git_says(repository)
    assert plain is not None and list(plain) == sorted(plain) and len(plain) == 6
    (repository.path / "refs" / "heads" / "main.lock").touch()
    assert read_plain(repository) == as_git_says(repository)


def edit_packed(old: bytes, new: bytes) -> Callable[[Repository], None]:
    def edit(repository: Repository) -> None:
        path = repository.path / "packed-refs"
        text = path.read_bytes()
        assert old in text
        path.write_bytes(text.replace(old, new))

    return edit


def symbolic(repository: Repository) -> None:
    git(repository, "symbolic-ref", "refs/heads/other", "refs/heads/main")


def link(repository: Repository) -> None:
    (repository.path / "refs" / "heads" / "link").symlink_to("main")


def empty(repository: Repository) -> None:
    (repository.path / "refs" / "heads" / "empty").touch()


def odd_name(repository: Repository) -> None:
    (repository.path / "refs" / "heads" / "a..b").write_bytes(
        (repository.path / "refs" / "heads" / "main").read_bytes()
    )


def white_space(repository: Repository) -> None:
    path = repository.path / "refs" / "heads" / "main"
    path.write_bytes(path.read_bytes() + b"\n \n")


def nobody(repository: Repository) -> None:
    (repository.path / "refs" / "heads" / "zero").write_bytes(b"0" * 40 + b"\n")


def pipe(repository: Repository) -> None:
    os.mkfifo(repository.path / "refs" / "pipe")


def other_store(repository: Repository) -> None:
    git(repository, "config", "extensions.refStorage", "files")


def a_directory_of_reftables(repository: Repository) -> None:
    (repository.path / "reftable").mkdir()


def many(repository: Repository) -> None:
    at = git(repository, "rev-parse", "refs/heads/main").strip()
    git(repository, "update-ref", "--stdin", stdin=b"".join(b"create refs/x/%d %s\n" % (n, at) for n in range(70)))


@pytest.mark.parametrize(
    "damage",
    [
        symbolic, link, empty, odd_name, white_space, nobody, pipe, other_store, a_directory_of_reftables, many,
        edit_packed(b"refs/tags/t", b"refs/tags/t t"), edit_packed(b"refs/tags/t\n", b"refs/tags/t"),
        edit_packed(b"refs/tags/t", b"refs/tags/t.lock"), edit_packed(b" refs/tags/t", b" heads/t"),
        edit_packed(b"# pack-refs with:", b"# something else:"),
    ],
)  # fmt: skip
def test_whatever_is_not_as_git_writes_it_is_gits_to_read(tmp_path: Path, damage: Callable[[Repository], None]) -> None:
    repository, commit = make(tmp_path / "r.git")
    git(repository, "update-ref", "refs/tags/t", commit)
    git(repository, "pack-refs", "--all")
    git(repository, "update-ref", "refs/heads/main", commit)
    assert read_plain(repository) is not None
    damage(repository)
    assert read_plain(repository) is None


def test_a_long_packed_refs_is_gits_to_read(tmp_path: Path) -> None:
    repository, commit = make(tmp_path / "r.git")
    lines = [f"create refs/tags/{'n' * 40}{n} {commit}\n".encode() for n in range(800)]
    git(repository, "update-ref", "--stdin", stdin=b"".join(lines))
    git(repository, "pack-refs", "--all")
    assert read_plain(repository) is None
    assert read_places(repository) == as_git_says(repository)


def test_a_ref_at_what_is_missing_is_read_as_by_git(tmp_path: Path) -> None:
    repository, commit = make(tmp_path / "r.git")
    git(repository, "update-ref", "refs/heads/main", commit)
    (repository.path / "objects" / commit[:2] / commit[2:]).unlink()
    assert read_plain(repository) == as_git_says(repository)
    assert [ref.kind for ref in read_refs(repository)] == [b"missing"]


def test_head_is_read_as_git_reads_it(tmp_path: Path) -> None:
    repository, commit = make(tmp_path / "r.git")
    git(repository, "symbolic-ref", "HEAD", "refs/heads/main")
    assert read_plain_head(repository) == read_head(repository) == b"refs/heads/main"
    assert read_head_commit(repository, read_refs(repository)) is None
    git(repository, "update-ref", "refs/heads/main", commit)
    there = ObjectId(bytes.fromhex(commit))
    assert read_head_commit(repository, read_refs(repository)) == read_head_commit(repository) == there
    git(repository, "update-ref", "--no-deref", "HEAD", commit)
    assert read_plain_head(repository) is None
    assert read_head(repository) is None
    assert read_head_commit(repository, read_refs(repository)) == there
    (repository.path / "HEAD").unlink()
    (repository.path / "HEAD").symlink_to("refs/heads/main")
    assert read_plain_head(repository) is None
    assert read_head(repository) == b"refs/heads/main"


def test_of_a_linked_work_tree_git_reads_the_refs(tmp_path: Path) -> None:
    repository, commit = make(tmp_path / "r.git")
    git(repository, "update-ref", "refs/heads/main", commit)
    git(repository, "worktree", "add", "-q", "-b", "other", str(tmp_path / "w"), commit)
    linked = Repository(repository.path / "worktrees" / "w", SHA1)
    assert read_plain(linked) is None
    assert read_plain(repository) == as_git_says(repository)
