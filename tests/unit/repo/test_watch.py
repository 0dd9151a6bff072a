# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time

import pytest

from gtfs.ids import SHA1
from gtfs.repo.repository import Repository
from gtfs.repo.watch import RefsWatch

OLD_S = 1_600_000_000


@pytest.fixture
def repository(tmp_path):
    for name in ("refs/heads", "refs/tags"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    age(tmp_path)
    return Repository(tmp_path, SHA1)


def age(path):
    for where, names, files in os.walk(path):
        for name in ("", *names, *files):
            os.utime(os.path.join(where, name), (OLD_S, OLD_S))


def put(path, text="x"):
    """As git does: a lock file, renamed."""
    lock = path.with_name(path.name + ".lock")
    lock.write_text(text)
    lock.rename(path)


def settled(repository):
    watch = RefsWatch(repository)
    assert watch.changed()
    assert not watch.changed()
    return watch


@pytest.mark.parametrize("name", ["refs/heads/main", "refs/tags/v1", "packed-refs", "HEAD", "refs/heads/deep/er/ref"])
def test_what_git_writes_is_noticed(repository, name):
    watch = settled(repository)
    (repository.path / name).parent.mkdir(parents=True, exist_ok=True)
    put(repository.path / name)
    assert watch.changed()


def test_a_deleted_ref_is_noticed(repository):
    path = repository.path / "refs/heads/gone"
    put(path)
    age(repository.path)
    watch = settled(repository)
    path.unlink()
    assert watch.changed()


def test_what_is_younger_than_the_clock_can_tell_is_looked_at_again(repository):
    watch = settled(repository)
    now = time.time()
    os.utime(repository.path / "refs/heads", (now, now))
    assert watch.changed()
    assert watch.changed()
    age(repository.path)
    assert watch.changed()
    assert not watch.changed()


def test_a_repository_without_refs_is_no_error(tmp_path):
    assert RefsWatch(Repository(tmp_path, SHA1)).changed()
