# SPDX-License-Identifier: GPL-3.0-or-later
"""A git that ends before it has read all that it is asked, or says much, or is not there: what it says is told, and no
broken pipe is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import pytest

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest.lost import missing_objects
from gtfs.repo.ancestry import commits_with_parents
from gtfs.repo.history import Ref, commits_reachable
from gtfs.repo.repository import GitFailed, GitMissing, Repository, create_repository
from gtfs.state import compare

MANY = [ObjectId(number.to_bytes(20, "big")) for number in range(1, 5000)]  # more than a pipe holds


def reached(repository: Repository, tips: Collection[ObjectId]) -> Iterable[ObjectId]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "read_refs", lambda _: [Ref(b"refs/heads/x", oid, b"commit") for oid in tips])
        yield from compare._reached(repository)


Walk = Callable[[Repository, Collection[ObjectId]], Iterable[object]]
WALKS = pytest.mark.parametrize("walk", [commits_reachable, commits_with_parents, reached])


def run_instead(patch: pytest.MonkeyPatch, *command: str) -> None:
    patch.setattr(Repository, "command", lambda *_args: list(command))


@WALKS
def test_many_tips_of_a_repository_that_git_does_not_open(walk: Walk, tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    repository.git("config", "core.repositoryFormatVersion", "1")
    repository.git("config", "extensions.unheardOf", "true")
    with pytest.raises(GitFailed, match="unknown repository extension"):
        list(walk(repository, MANY))
    assert list(missing_objects(repository, MANY)) == [None]


@WALKS
def test_a_git_that_says_more_than_a_pipe_holds_is_heard_to_its_end(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    run_instead(monkeypatch, "sh", "-c", "cat >/dev/null; seq 100000 >&2; exit 3")
    with pytest.raises(GitFailed, match="git rev-list ended with 3: 100000"):
        list(walk(repository, MANY[:1]))
    assert list(missing_objects(repository, MANY[:1])) == [None]


@WALKS
def test_a_git_that_is_not_there_is_named(walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    run_instead(monkeypatch, str(tmp_path / "git"))
    with pytest.raises(GitMissing):
        list(walk(repository, MANY[:1]))


def test_who_has_heard_enough_waits_for_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    run_instead(monkeypatch, "sh", "-c", f"cat >/dev/null; echo {'1' * 40}; exec sleep 1000")
    walk = commits_reachable(repository, MANY[:1])
    next(walk)
    walk.close()  # type: ignore[attr-defined]
