# SPDX-License-Identifier: GPL-3.0-or-later
"""From a work tree to its repository, as git finds it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gtfs.repo.place import BadRepository, git_dir_at


def git(*words: object) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *map(str, words)], check=True)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    git("init", "-q", path)
    git("-C", path, "commit", "-q", "--allow-empty", "-m", "first")
    return path


def test_a_work_tree_leads_to_its_repository(work: Path, tmp_path: Path) -> None:
    git("-C", work, "worktree", "add", "-q", tmp_path / "linked")
    git("clone", "-q", f"--separate-git-dir={tmp_path / 'apart'}", work, tmp_path / "clone")
    assert git_dir_at(work) == work / ".git"
    assert git_dir_at(tmp_path / "linked").resolve() == work / ".git"
    assert git_dir_at(tmp_path / "clone").resolve() == tmp_path / "apart"


def test_what_is_no_work_tree_is_taken_as_it_is(work: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git("clone", "-q", "--bare", work, bare)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".git").write_text("no link\n")
    (tmp_path / "file").write_text("x")
    for path in (bare, work / ".git", tmp_path / "other", tmp_path / "file", tmp_path / "nowhere"):
        assert git_dir_at(path) == path


@pytest.mark.parametrize("how", ["file", "link"])
def test_nobody_else_leads_to_a_repository(
    work: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    if how == "file":
        (theirs / ".git").write_text(f"gitdir: {work / '.git'}\n")
    else:
        (theirs / ".git").symlink_to(work / ".git")
    assert git_dir_at(theirs).resolve() == work / ".git"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(BadRepository, match="leads elsewhere"):
        git_dir_at(theirs)
