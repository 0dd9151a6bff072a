# SPDX-License-Identifier: GPL-3.0-or-later
"""git has one index over many packs that were let in, and lacks nothing where it has none."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from gtfs.ids import SHA1
from gtfs.ingest.sweep import sweep
from gtfs.repo import joinedindex, multipackindex
from gtfs.repo.joinedindex import join_packs
from gtfs.repo.moving import JOINED_INDEX, Moving
from gtfs.repo.multipackindex import packs_in, write_multi_pack_index
from gtfs.repo.repository import Repository, create_repository


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setattr(joinedindex, "_BEGIN", 0)
    monkeypatch.setattr(joinedindex, "_WORTH", 1)
    return create_repository(tmp_path / "r.git", SHA1)


def add_pack(repository: Repository, content: bytes, version: int = 2) -> str:
    oid = repository.git("hash-object", "-w", "--stdin", stdin=content).strip()
    place = str(repository.objects / "pack" / "pack")
    repository.git("pack-objects", "-q", f"--index-version={version}", place, stdin=oid + b"\n")
    repository.git("prune-packed", "-q")
    return oid.decode()


def joined(repository: Repository) -> Path:
    return repository.objects / "pack" / "multi-pack-index"


def packs(repository: Repository) -> int:
    """How many it covers."""
    return len(packs_in(joined(repository), repository.fmt))


def test_it_is_written_when_as_much_was_looked_up_as_it_costs_and_again_when_as_much_was(
    repository: Repository,
) -> None:
    # Of four the objects were looked up in 0 + 1 + 2 + 3 packs; of five beside it in 0 + 1 + 2 + 3 + 4.
    covered = []
    for number in range(10):
        add_pack(repository, b"%d" % number)
        join_packs(repository)
        covered.append(packs(repository))
    assert covered == [0, 0, 0, 4, 4, 4, 4, 4, 9, 9]
    repository.git("multi-pack-index", "verify")


def test_whoever_waits_pays_for_what_was_done_for_him_alone(repository: Repository) -> None:
    add_many(repository, 9)
    came: set[str] = set()
    covered = []
    for number in range(9, 12):
        before = set(joined(repository).parent.glob("*.idx"))
        add_pack(repository, b"%d" % number)
        came.update(path.name for path in set(joined(repository).parent.glob("*.idx")) - before)
        join_packs(repository, came)
        covered.append(packs(repository))
    assert covered == [0, 11, 11]  # 9 look-ups of one pack, 9 + 10 of two, of ten and eleven packs


def test_of_few_objects_there_is_none(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for number in range(10):
        add_pack(repository, b"%d" % number)
    join_packs(repository)
    assert not joined(repository).exists()


def add_many(repository: Repository, number: int = 4) -> list[str]:
    return [add_pack(repository, b"%d" % n) for n in range(number)]


def test_it_is_written_again_where_a_repack_took_it_away_and_left_many(repository: Repository) -> None:
    add_many(repository)
    join_packs(repository)
    joined(repository).unlink()
    add_pack(repository, b"later")
    join_packs(repository)
    assert packs(repository) == 5


def test_it_is_not_written_while_a_repack_is_under_way(repository: Repository) -> None:
    add_many(repository)
    repository.layout.repacking.mkdir(parents=True)
    join_packs(repository)
    assert not joined(repository).exists()
    repository.layout.repacking.rmdir()
    join_packs(repository)
    assert joined(repository).exists()


def test_what_came_after_it_is_found(repository: Repository) -> None:
    oids = add_many(repository)
    join_packs(repository)
    oids.append(add_pack(repository, b"later"))
    assert packs(repository) == 4
    for oid in oids:
        assert repository.git("cat-file", "-t", oid) == b"blob\n"


def test_one_of_another_form_is_written_anew(repository: Repository) -> None:
    add_many(repository)
    for damaged in (b"", b"MIDX", b"MIDX\1\1\1\0\0\0\0\4PNAM", b"x" * 4096, b"MIDX" + b"\xff" * 4000):
        joined(repository).write_bytes(damaged)
        assert packs(repository) == 0
        join_packs(repository)
        assert packs(repository) == 4


def test_where_it_cannot_be_written_nobody_is_harmed(repository: Repository) -> None:
    oid, *_ = add_many(repository)
    joined(repository).mkdir()
    (joined(repository) / "x").touch()
    join_packs(repository)
    assert not lock_of(repository).exists()
    (joined(repository) / "x").unlink()
    joined(repository).rmdir()
    assert repository.git("cat-file", "-t", oid) == b"blob\n"


def test_a_full_disk_leaves_what_was_there(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_many(repository)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(multipackindex, "sync_file", full)
    with caplog.at_level(logging.INFO, joinedindex.__name__):
        join_packs(repository)
    assert "No space" in caplog.text
    assert not joined(repository).exists() and not lock_of(repository).exists()


def test_a_damaged_index_of_a_pack_is_named_and_no_index_made_of_it(
    repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    add_many(repository)
    index = next(joined(repository).parent.glob("*.idx"))
    index.chmod(0o644)
    index.write_bytes(index.read_bytes()[:1050])
    with caplog.at_level(logging.INFO, joinedindex.__name__):
        join_packs(repository)
    assert index.name in caplog.text
    assert not joined(repository).exists() and not lock_of(repository).exists()


def test_none_stays_that_names_a_pack_that_went_meanwhile(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_many(repository)
    index = next(joined(repository).parent.glob("*.idx"))
    monkeypatch.setattr(multipackindex, "sync_file", lambda _path: index.unlink())
    join_packs(repository)
    assert not joined(repository).exists()


def test_while_another_program_has_the_lock_it_waits(repository: Repository, caplog: pytest.LogCaptureFixture) -> None:
    lock_of(repository).touch()
    add_many(repository)
    with caplog.at_level(logging.INFO, joinedindex.__name__):
        join_packs(repository)
    assert "multi-pack-index.lock" in caplog.text
    sweep(repository)
    assert lock_of(repository).exists() and not joined(repository).exists()
    lock_of(repository).unlink()
    join_packs(repository)
    assert joined(repository).exists()


def lock_of(repository: Repository) -> Path:
    return joined(repository).with_name("multi-pack-index.lock")


def test_the_lock_of_one_that_was_killed_at_it_goes_at_the_next_start(repository: Repository) -> None:
    add_many(repository)
    with Moving(repository, {JOINED_INDEX: None}):
        text = repository.layout.moving.read_bytes()
    repository.layout.moving.write_bytes(text)
    lock_of(repository).touch()
    sweep(repository)
    assert not lock_of(repository).exists()
    join_packs(repository)
    assert joined(repository).exists()


def test_packs_that_it_cannot_cover_are_no_reason_to_write_it(repository: Repository) -> None:
    for number in range(8):
        add_pack(repository, b"%d" % number, version=1)
    join_packs(repository)
    assert not joined(repository).exists()  # an empty one is a fault to git fsck
    add_many(repository)
    for number in range(8, 16):
        add_pack(repository, b"%d" % number)
    for pack in list(joined(repository).parent.glob("*.pack"))[:6]:
        pack.unlink()  # and the index not, which git takes away first
    join_packs(repository)
    written_ns = joined(repository).stat().st_mtime_ns
    join_packs(repository)
    assert joined(repository).stat().st_mtime_ns == written_ns


def test_one_that_another_thread_has_just_written_is_not_written_again(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_many(repository)
    written: list[Path] = []

    class Waiting(Moving):
        def __enter__(self) -> Waiting:
            write_multi_pack_index(joined(repository).parent, joined(repository), repository.fmt)
            return super().__enter__()

    monkeypatch.setattr(joinedindex, "Moving", Waiting)
    monkeypatch.setattr(joinedindex, "write_multi_pack_index", lambda _directory, path, _fmt: written.append(path))
    join_packs(repository)
    assert not written and packs(repository) == 4


def test_one_that_hides_objects_as_it_names_a_pack_that_is_gone_goes(repository: Repository) -> None:
    # It was put there just when whoever took the pack away had seen that there is none.
    oid = add_pack(repository, b"in both")
    (here,) = joined(repository).parent.glob("*.pack")
    os.utime(here, (1, 1))
    also = repository.git("hash-object", "-w", "--stdin", stdin=b"also").strip()
    repository.git("pack-objects", "-q", str(here.with_name("pack")), stdin=oid.encode() + b"\n" + also + b"\n")
    (gone,) = set(here.parent.glob("*.pack")) - {here}
    write_multi_pack_index(here.parent, joined(repository), repository.fmt)
    for suffix in (".idx", ".pack"):
        gone.with_suffix(suffix).unlink()
    asked = oid.encode() + b"\n"
    assert repository.git("cat-file", "--batch-check", stdin=asked).endswith(b" missing\n")
    join_packs(repository)
    assert not joined(repository).exists()
    assert b" blob " in repository.git("cat-file", "--batch-check", stdin=asked)


def test_a_damaged_index_alone_is_no_use_to_try_again(repository: Repository) -> None:
    add_many(repository)
    lock_of(repository).touch()
    assert join_packs(repository)
    lock_of(repository).unlink()
    index = next(joined(repository).parent.glob("*.idx"))
    index.chmod(0o644)
    index.write_bytes(index.read_bytes() + b"x")
    assert not join_packs(repository)
