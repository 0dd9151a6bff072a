# SPDX-License-Identifier: GPL-3.0-or-later
"""A git that ends before it has read all that it is asked: what it says is told, and no broken pipe is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import pytest

from gtfs.ids import SHA1, ObjectId
from gtfs.repo.ancestry import commits_with_parents
from gtfs.repo.history import Ref, commits_reachable
from gtfs.repo.repository import GitFailed, Repository, create_repository
from gtfs.state import compare

MANY = [ObjectId(number.to_bytes(20, "big")) for number in range(1, 5000)]  # more than a pipe holds


def reached(repository: Repository, tips: Collection[ObjectId]) -> Iterable[ObjectId]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "read_refs", lambda _: [Ref(b"refs/heads/x", oid, b"commit") for oid in tips])
        yield from compare._reached(repository)


@pytest.mark.parametrize("walk", [commits_reachable, commits_with_parents, reached])
def test_many_tips_of_a_repository_that_git_does_not_open(
    walk: Callable[[Repository, Collection[ObjectId]], Iterable[object]], tmp_path: Path
) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    repository.git("config", "core.repositoryFormatVersion", "1")
    repository.git("config", "extensions.unheardOf", "true")
    with pytest.raises(GitFailed, match="unknown repository extension"):
        list(walk(repository, MANY))
