# SPDX-License-Identifier: GPL-3.0-or-later
"""git has one index over many packs that were let in, and lacks nothing where it has none."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from gtfs.ids import SHA1
from gtfs.ingest.sweep import sweep
from gtfs.repo import joinedindex
from gtfs.repo.joinedindex import JoinedIndex
from gtfs.repo.moving import JOINED_INDEX, Moving
from gtfs.repo.repository import Repository, create_repository


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setattr(joinedindex, "_MOST_ALONE", 3)
    return create_repository(tmp_path / "r.git", SHA1)


def add_pack(repository: Repository, content: bytes) -> str:
    oid = repository.git("hash-object", "-w", "--stdin", stdin=content).strip()
    repository.git("pack-objects", "-q", str(repository.objects / "pack" / "pack"), stdin=oid + b"\n")
    repository.git("prune-packed", "-q")
    return oid.decode()


def joined(repository: Repository) -> Path:
    return repository.objects / "pack" / "multi-pack-index"


def test_it_is_written_when_enough_packs_came_and_again_when_as_many_more_did(repository: Repository) -> None:
    index = JoinedIndex(repository)
    sizes = []
    for number in range(7):
        add_pack(repository, b"%d" % number)
        index.came(1)
        sizes.append(joined(repository).stat().st_size if joined(repository).exists() else 0)
    assert sizes[1] == 0 < sizes[2] == sizes[4] < sizes[5] == sizes[6]
    repository.git("multi-pack-index", "verify")


def test_what_earlier_runs_left_is_counted(repository: Repository) -> None:
    """Each sync by a timer leaves one pack."""
    sizes = []
    for number in range(7):
        add_pack(repository, b"%d" % number)
        JoinedIndex(repository).came(1)
        sizes.append(joined(repository).stat().st_size if joined(repository).exists() else 0)
    assert sizes[1] == 0 < sizes[2] == sizes[4] < sizes[5] == sizes[6]


def test_it_is_written_again_at_once_where_a_repack_took_it_away_and_left_many(repository: Repository) -> None:
    index = JoinedIndex(repository)
    for number in range(4):
        add_pack(repository, b"%d" % number)
    index.came(4)
    joined(repository).unlink()
    add_pack(repository, b"later")
    index.came(1)
    assert joined(repository).exists()


def test_it_is_not_written_while_a_repack_is_under_way(repository: Repository) -> None:
    index = JoinedIndex(repository)
    for number in range(3):
        add_pack(repository, b"%d" % number)
    repository.layout.repacking.mkdir(parents=True)
    index.came(3)
    assert not joined(repository).exists()
    repository.layout.repacking.rmdir()
    add_pack(repository, b"later")
    index.came(1)
    assert joined(repository).exists()


def test_what_came_after_it_is_found(repository: Repository) -> None:
    index = JoinedIndex(repository)
    oids = [add_pack(repository, b"%d" % number) for number in range(4)]
    index.came(3)
    oids.append(add_pack(repository, b"later"))
    for oid in oids:
        assert repository.git("cat-file", "-t", oid) == b"blob\n"


def test_it_covers_as_many_packs_as_there_is_memory_for_the_smallest_first(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    oids = [repository.git("hash-object", "-w", "--stdin", stdin=b"%d" % n).strip() for n in range(300)]
    repository.git("pack-objects", "-q", str(repository.objects / "pack" / "pack"), stdin=b"\n".join(oids) + b"\n")
    repository.git("prune-packed", "-q")
    large = next((repository.objects / "pack").glob("*.idx"))
    for number in range(300, 302):
        add_pack(repository, b"%d" % number)
    monkeypatch.setattr(joinedindex, "_MOST_BYTES", large.stat().st_size)
    JoinedIndex(repository).came(3)
    names = joined(repository).read_bytes()
    small = {path.name for path in (repository.objects / "pack").glob("*.idx")} - {large.name}
    assert len(small) == 2
    assert all(name.encode() in names for name in small)
    assert large.name.encode() not in names
    assert repository.git("cat-file", "-t", oids[0].decode()) == b"blob\n"


def test_a_git_that_cannot_write_it_harms_nobody(repository: Repository) -> None:
    oid, *_ = [add_pack(repository, content) for content in (b"a", b"b", b"c")]
    joined(repository).mkdir()
    (joined(repository) / "x").touch()
    os.utime(joined(repository), (0, 0))
    JoinedIndex(repository).came(3)
    (joined(repository) / "x").unlink()
    joined(repository).rmdir()
    assert repository.git("cat-file", "-t", oid) == b"blob\n"


def test_what_could_not_be_written_is_tried_again_when_as_many_more_came(
    repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    lock_of(repository).touch()
    index = JoinedIndex(repository)
    tried = []
    with caplog.at_level(logging.INFO, joinedindex.__name__):
        for number in range(7):
            add_pack(repository, b"%d" % number)
            index.came(1)
            tried.append(len(caplog.records))
    assert tried == [0, 0, 1, 1, 1, 2, 2]


def lock_of(repository: Repository) -> Path:
    return joined(repository).with_name("multi-pack-index.lock")


def test_the_lock_of_a_git_that_was_killed_with_us_goes_at_the_next_start(repository: Repository) -> None:
    for number in range(3):
        add_pack(repository, b"%d" % number)
    with Moving(repository, {JOINED_INDEX: None}):
        text = repository.layout.moving.read_bytes()
    repository.layout.moving.write_bytes(text)
    lock_of(repository).touch()
    sweep(repository)
    assert not lock_of(repository).exists()
    JoinedIndex(repository).came(3)
    assert joined(repository).exists()


def test_the_lock_of_another_program_stays(repository: Repository) -> None:
    for content in (b"a", b"b", b"c"):
        add_pack(repository, content)
    lock_of(repository).touch()
    JoinedIndex(repository).came(3)
    sweep(repository)
    assert lock_of(repository).exists() and not joined(repository).exists()
    lock_of(repository).unlink()
    JoinedIndex(repository).came(1)
    assert joined(repository).exists()
