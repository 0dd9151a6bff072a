# SPDX-License-Identifier: GPL-3.0-or-later
"""Membership in an object store that git changes: packed, loose, in an alternate; as of the last look."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gtfs.ids import SHA1, SHA256, ObjectFormat, ObjectId
from gtfs.repo import packindex, sieve
from gtfs.repo.history import history
from gtfs.repo.known import KnownObjects
from gtfs.repo.packindex import BadIndex
from gtfs.repo.repository import Repository, create_repository, open_repository

ABSENT = ObjectId(bytes(20))


def add_blob(repository: Repository, data: bytes) -> ObjectId:
    return ObjectId(bytes.fromhex(repository.git("hash-object", "-w", "--stdin", stdin=data).decode().strip()))


def pack_loose(repository: Repository, *oids: ObjectId) -> None:
    names = "".join(oid.hex() + "\n" for oid in oids).encode()
    repository.git("pack-objects", "-q", str(repository.objects / "pack" / "pack"), stdin=names)
    repository.git("prune-packed", "-q")


def test_packed_objects_are_known(odd_repository: Path) -> None:
    repository = open_repository(odd_repository)
    with KnownObjects(repository) as objects:
        assert all(oid in objects for oid in history(repository))
        assert ABSENT not in objects


def test_a_large_index_is_mapped_and_found_in(odd_repository: Path, monkeypatch) -> None:
    monkeypatch.setattr(packindex, "_SMALL", 0)
    test_packed_objects_are_known(odd_repository)


def test_what_git_adds_and_repacks_is_noticed_at_the_next_look(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    with KnownObjects(repository) as objects:
        first = add_blob(repository, b"first")
        objects.refresh()
        assert first in objects
        second = add_blob(repository, b"second")
        pack_loose(repository, first, second)
        objects.refresh()
        assert first in objects and second in objects
        for file in (repository.objects / "pack").iterdir():
            file.unlink()
        objects.refresh()
        assert first not in objects


def test_a_pack_that_comes_while_the_directory_is_read_and_takes_the_place_of_others_is_noticed(
    tmp_path: Path, monkeypatch
) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    first, second = add_blob(repository, b"first"), add_blob(repository, b"second")
    pack_loose(repository, first)
    pack_loose(repository, second)
    with KnownObjects(repository) as objects:
        repository.git("repack", "-a", "-d", "-k", "-q")
        lists = [set()]  # of names, as readdir(3) may give them: neither the old ones, nor yet the new one
        names_in = packindex.names_in
        monkeypatch.setattr(packindex, "names_in", lambda path: lists.pop() if lists else names_in(path))
        assert objects.refresh()
        assert first in objects and second in objects


def test_an_index_without_its_pack_says_nothing(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    blob = add_blob(repository, b"blob")
    pack_loose(repository, blob)
    for pack in (repository.objects / "pack").glob("*.pack"):
        pack.unlink()
    with KnownObjects(repository) as objects:
        assert blob not in objects


def test_objects_of_alternates_are_known(tmp_path: Path) -> None:
    far, near, here = (create_repository(tmp_path / name, SHA1) for name in ("far.git", "near.git", "here.git"))
    packed, loose = add_blob(far, b"packed"), add_blob(near, b"loose")
    pack_loose(far, packed)
    # One absolute and one relative, and the chain leads back to its start.
    for repository, other in (
        (here, os.fsencode(near.objects)),
        (near, b"../../far.git/objects"),
        (far, b"../../here.git/objects"),
    ):
        (repository.objects / "info").mkdir(exist_ok=True)
        (repository.objects / "info" / "alternates").write_bytes(b"# a comment\n" + other + b"\n")
    with KnownObjects(here) as objects:
        assert packed in objects and loose in objects


def test_sha256_repositories(tmp_path: Path) -> None:
    fmt: ObjectFormat = SHA256
    repository = create_repository(tmp_path / "r.git", fmt)
    packed = add_blob(repository, b"packed")
    pack_loose(repository, packed)
    loose = add_blob(repository, b"loose")
    with KnownObjects(repository) as objects:
        assert packed in objects and loose in objects
        assert ObjectId(bytes(32)) not in objects


def test_a_directory_without_packs_knows_nothing(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    subprocess.run(["rm", "-r", str(repository.objects / "pack")], check=True)
    with KnownObjects(repository) as objects:
        assert ABSENT not in objects


def many_packs(repository: Repository, count: int) -> list[ObjectId]:
    blobs = [add_blob(repository, b"blob %d" % n) for n in range(count)]
    for blob in blobs:
        pack_loose(repository, blob)
    return blobs


def test_what_many_packs_have_is_known_before_and_after_they_were_looked_through(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    blobs = many_packs(repository, 12)
    with KnownObjects(repository) as objects:
        for _ in range(3):
            assert objects.packed_among(blobs) == set(blobs) and all(blob in objects for blob in blobs)
            assert ABSENT not in objects and not objects.packed_among([ABSENT])
            objects.refresh()
        assert not objects._new  # all of them were looked through
        later = add_blob(repository, b"later")
        pack_loose(repository, later)
        assert later not in objects
        objects.refresh()
        assert later in objects and all(blob in objects for blob in blobs)


def test_a_repack_after_packs_were_looked_through_is_noticed(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    blobs = many_packs(repository, 6)
    with KnownObjects(repository) as objects:
        assert objects.packed_among(blobs) == set(blobs)
        objects.refresh()
        assert not objects._new
        repository.git("repack", "-a", "-d", "-k", "-q")
        assert objects.refresh()
        assert objects.packed_among(blobs) == set(blobs)
        for file in (repository.objects / "pack").iterdir():
            file.unlink()
        assert objects.refresh()
        assert not any(blob in objects for blob in blobs)


def test_a_sieve_that_is_full_gives_way_to_a_larger_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sieve, "_LEAST", 4)
    repository = create_repository(tmp_path / "r.git", SHA1)
    with KnownObjects(repository) as objects:
        blobs = []
        for number in range(20):
            blobs.append(add_blob(repository, b"blob %d" % number))
            pack_loose(repository, blobs[-1])
            objects.refresh()
            assert objects.packed_among(blobs) == set(blobs)
        objects.refresh()
        assert objects._sieve.room >= 16
        assert objects.packed_among(blobs) == set(blobs)


def some_packs(repository: Repository, first: int, count: int) -> list[ObjectId]:
    oids = [add_blob(repository, b"%d" % number) for number in range(first, first + count)]
    for oid in oids:
        pack_loose(repository, oid)
    return oids


def test_what_a_multi_pack_index_covers_is_known_and_what_came_beside_it(tmp_path: Path, monkeypatch) -> None:
    for asked_first in (False, True):  # the sieve has all of it, or nothing
        repository = create_repository(tmp_path / f"{asked_first}.git", SHA1)
        covered = some_packs(repository, 0, 5)
        repository.git("multi-pack-index", "write", "--no-progress")
        beside = some_packs(repository, 5, 3)
        with KnownObjects(repository) as objects:
            if asked_first:
                assert not any(ABSENT in objects for _ in range(1000))
                objects.refresh()
            # Those that it covers are asked for nothing.
            lists = [path.stem for path in (repository.objects / "pack").glob("*.pack")]
            assert len(objects._beside) == len(lists) - 5
            assert objects.packed_among([*covered, ABSENT, *beside]) == {*covered, *beside}
            assert all(oid in objects for oid in [*covered, *beside]) and ABSENT not in objects
            repository.git("multi-pack-index", "write", "--no-progress")
            objects.refresh()
            assert not objects._beside
            assert objects.packed_among([*covered, ABSENT, *beside]) == {*covered, *beside}
            (repository.objects / "pack" / "multi-pack-index").unlink()
            objects.refresh()
            assert objects.packed_among([*covered, ABSENT, *beside]) == {*covered, *beside}


def test_a_multi_pack_index_of_packs_that_are_gone_says_nothing(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    first, *rest = some_packs(repository, 0, 4)
    repository.git("multi-pack-index", "write", "--no-progress")
    index = next(p for p in (repository.objects / "pack").glob("*.idx") if first in p.read_bytes())
    index.with_suffix(".pack").unlink()
    index.unlink()
    with KnownObjects(repository) as objects:
        assert first not in objects
        assert objects.packed_among([first, *rest]) == set(rest)


def test_where_an_index_cannot_be_read_what_is_gone_is_asked_no_more(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(packindex, "_SMALL", 0)  # mapped, as a closed map cannot be asked
    repository = create_repository(tmp_path / "r.git", SHA1)
    first, second = some_packs(repository, 0, 2)
    with KnownObjects(repository) as objects:
        assert first in objects
        index = next(p for p in (repository.objects / "pack").glob("*.idx") if first in p.read_bytes())
        index.with_suffix(".pack").unlink()
        (repository.objects / "pack" / "pack-bad.idx").write_bytes(b"bad")
        (repository.objects / "pack" / "pack-bad.pack").touch()
        with pytest.raises(BadIndex):
            objects.refresh()
        assert first not in objects and second in objects


def test_a_damaged_multi_pack_index_says_nothing(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    oids = some_packs(repository, 0, 3)
    repository.git("multi-pack-index", "write", "--no-progress")
    path = repository.objects / "pack" / "multi-pack-index"
    whole = path.read_bytes()
    path.chmod(0o600)
    with KnownObjects(repository) as objects:
        for damaged in (b"", whole[:100], whole[:-60], b"MIDX\2" + whole[5:], whole.replace(b"OOFF", b"XXXX")):
            path.write_bytes(damaged)
            objects.refresh()
            assert len(objects._beside) == 3
            assert objects.packed_among([*oids, ABSENT]) == set(oids)


def test_what_git_will_throw_away_is_not_packed_because_an_index_covers_it(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "r.git", SHA1)
    first, second = some_packs(repository, 0, 2)
    index = next(p for p in (repository.objects / "pack").glob("*.idx") if first in p.read_bytes())
    index.with_suffix(".mtimes").touch()  # a cruft pack
    repository.git("multi-pack-index", "write", "--no-progress")
    with KnownObjects(repository) as objects:
        assert objects.packed_among([first, second]) == {second}
        assert first in objects


def test_repositories_that_borrow_from_each_other_are_each_looked_at_once(tmp_path: Path) -> None:
    one, two = (create_repository(tmp_path / name, SHA1) for name in ("one.git", "two.git"))
    for here, there in ((one, two), (two, one)):
        (here.objects / "info").mkdir(exist_ok=True)
        (here.objects / "info" / "alternates").write_text(os.path.relpath(there.objects, here.objects) + "\n")
    assert [directory.resolve() for directory in one.object_directories()] == [one.objects, two.objects]
