# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories of other owners: git's own rule (safe.directory) decides, by the settings of the user who runs gtfs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gtfs.cli.ask import ask
from gtfs.repo.repository import BadRepository, open_repository

STRANGER = 65534


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A repository of somebody else's, as far as this user can make one."""
    assert os.geteuid() == 0, "needs root, to give a repository away"
    path = tmp_path / "theirs.git"
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    os.chown(path, STRANGER, STRANGER)
    return path


def allow(path: Path, *, by: str = "--global") -> None:
    subprocess.run(["git", "config", by, "--add", "safe.directory", str(path)], check=True)


def test_a_repository_of_another_owner_is_refused_with_gits_way_out(theirs: Path) -> None:
    with pytest.raises(BadRepository) as refused:
        open_repository(theirs)
    assert "not to you" in str(refused.value)
    assert str(refused.value).endswith(f"git config --global --add safe.directory {theirs}")
    assert refused.value.exit_code == 3


def test_who_allowed_it_to_git_has_allowed_it_to_gtfs(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(theirs.parent / "other.git")
    with pytest.raises(BadRepository):
        open_repository(theirs)
    allow(theirs)
    assert open_repository(theirs).path == theirs
    # An empty value takes back what came before.
    subprocess.run(["git", "config", "--global", "--add", "safe.directory", ""], check=True)
    with pytest.raises(BadRepository):
        open_repository(theirs)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "*")
    assert open_repository(theirs).path == theirs


def test_the_settings_of_the_machine_count_as_they_do_for_git(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "gitconfig"
    system.write_text(f"[safe]\n directory = {theirs}\n")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(system))
    with pytest.raises(BadRepository):
        open_repository(theirs)  # GIT_CONFIG_NOSYSTEM is set
    monkeypatch.delenv("GIT_CONFIG_NOSYSTEM")
    assert open_repository(theirs).path == theirs


def test_a_repository_cannot_allow_itself(theirs: Path) -> None:
    with (theirs / "config").open("a") as config:
        config.write("[safe]\n directory = *\n")
    with pytest.raises(BadRepository):
        open_repository(theirs)


def test_root_by_sudo_may_use_what_belongs_to_who_called_sudo(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1")
    with pytest.raises(BadRepository):
        open_repository(theirs)
    monkeypatch.setenv("SUDO_UID", str(STRANGER))
    assert open_repository(theirs).path == theirs


def test_the_users_settings_are_not_read_for_his_own_repository(tmp_path: Path) -> None:
    path = tmp_path / "mine.git"
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    Path(os.environ["HOME"], ".gitconfig").write_text("this is no git config\n[safe]\nbareRepository = explicit\n")
    assert open_repository(path).path == path


def test_a_directory_inside_of_a_repository_is_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.git"
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    inner = path / "inner"
    (inner / "objects").mkdir(parents=True)
    (inner / "HEAD").write_text("ref: refs/heads/main\n")
    with pytest.raises(BadRepository, match="does not accept"):
        open_repository(inner)


def test_a_missing_object_of_a_partial_clone_starts_no_transport(tmp_path: Path) -> None:
    path, mark = tmp_path / "mine.git", tmp_path / "mark"
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    with (path / "config").open("a") as config:
        config.write(
            f"""[core]
 repositoryFormatVersion = 1
[extensions]
 partialClone = origin
[remote "origin"]
 promisor = true
 url = ext::sh -c "touch% {mark}"
[protocol]
 allow = always
[protocol "ext"]
 allow = always
"""
        )
    missing = b"1" * 40 + b"\n"
    assert open_repository(path).git("cat-file", "--batch", stdin=missing).endswith(b" missing\n")
    assert not mark.exists()
    subprocess.run(["git", f"--git-dir={path}", "cat-file", "--batch"], input=missing, check=True, capture_output=True)
    assert mark.exists()  # which git alone does start


def test_the_node_of_another_owners_repository_is_asked_only_where_git_would_use_it(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("gtfs.cli.ask.ask_node", lambda state, *_: asked.append(state))
    with pytest.raises(BadRepository, match="not to you"):
        ask(theirs, {"do": "status"})
    assert not asked
    allow(theirs)
    ask(theirs, {"do": "status"})
    assert asked == [theirs / "gtfs"]
