# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository's settings: what is set, git reads, and what is set together is there as a whole or not at all."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from gtfs.ids import SHA1
from gtfs.repo.repository import GitFailed, Repository, create_repository
from gtfs.state.config import BadConfig, Config

ODD = ('a "b" \\ c', "# no comment ; here", " with spaces ", "tab\tand\nline", "-o", "é")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = create_repository(tmp_path / "a.git", SHA1)
    made.state_directory.mkdir(mode=0o700)
    return made


def by_git(repository: Repository, key: str) -> list[str]:
    command = ["git", "config", "--file", repository.layout.config, "-z", "--get-all", f"gtfs.{key}"]
    return subprocess.run(command, capture_output=True, check=False).stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("is_new", [True, False])
def test_what_is_set_together_is_what_git_and_we_read(repository: Repository, is_new: bool) -> None:
    config = Config(repository)
    if not is_new:
        config.set("policy", "before", "and more")
        config.set("hide", "refs/x")
    with config.together():
        config.set("policy", *ODD)
        config.set("name", "demo")
        config.set("hide")
        config.set("signer")
        assert config.get("name") == "demo" and by_git(repository, "name") == []
    for seen in (Config(repository).get_all("policy"), by_git(repository, "policy"), config.get_all("policy")):
        assert seen == list(ODD)
    assert by_git(repository, "hide") == by_git(repository, "signer") == [] and by_git(repository, "name") == ["demo"]
    assert repository.layout.config.stat().st_mode & 0o777 == 0o600


def test_after_an_error_nothing_of_it_is_set(repository: Repository) -> None:
    config = Config(repository)
    config.set("name", "demo")
    with pytest.raises(ValueError, match="no"), config.together():
        config.set("name", "other")
        raise ValueError("no")
    assert config.get("name") == "demo" and by_git(repository, "name") == ["demo"]


def test_of_many_values_all_are_there_or_none(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(repository)
    config.set("policy", "a", "b")
    config.set("hide", "refs/x")
    real = Repository.git

    def die(self: Repository, *args: str, **more: Any) -> bytes:
        if "last" in args:
            raise KeyboardInterrupt
        return real(self, *args, **more)

    monkeypatch.setattr(Repository, "git", die)
    with pytest.raises(KeyboardInterrupt):
        config.set("policy", "c", "last")
    with pytest.raises(KeyboardInterrupt), config.together():
        config.set("hide")
        config.set("policy", "c", "last")
    for seen in (config, Config(repository)):
        assert (seen.get_all("policy"), seen.get_all("hide")) == (["a", "b"], ["refs/x"])
    assert [path.name for path in repository.state_directory.iterdir()] == ["config"]


def test_a_setting_that_git_is_changing_is_not_lost(repository: Repository) -> None:
    config = Config(repository)
    config.set("name", "demo")
    repository.layout.config_lock.touch()
    with pytest.raises(BadConfig, match="try again"):
        config.set("name", "other")
    assert config.get("name") == "demo" and by_git(repository, "name") == ["demo"]
    repository.layout.config_lock.unlink()
    config.set("name", "other")
    assert by_git(repository, "name") == ["other"]


def test_fewer_values_and_none_take_the_place_of_many(repository: Repository) -> None:
    config = Config(repository)
    for values in (("a", "b"), ("c",), (), ("d", "e", "f")):
        config.set("refs", *values)
        assert by_git(repository, "refs") == list(values) == Config(repository).get_all("refs")


def test_what_could_not_be_taken_away_counts_on(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(repository)
    config.set("policy", "one", "two")
    config.set("name", "demo")
    git = Repository.git

    def fail(self: Repository, *args: str, **more: Any) -> bytes:
        if "--unset-all" not in args:
            return git(self, *args, **more)
        if more.get("check", True):
            raise GitFailed(args, 4, b"error: could not write config file: No space left on device")
        return b""

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "git", fail)
        with pytest.raises(GitFailed, match="No space left"):
            config.set("policy")
        with pytest.raises(GitFailed), config.together():
            config.set("name", "other")
            config.set("policy")
    assert config.get_all("policy") == by_git(repository, "policy") == ["one", "two"]
    assert config.get("name") == Config(repository).get("name") == "demo"
    # What somebody else took away is away.
    repository.git("config", "--file", str(repository.layout.config), "--unset-all", "gtfs.policy")
    config.set("policy")
    assert config.get_all("policy") == []
