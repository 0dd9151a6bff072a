# SPDX-License-Identifier: GPL-3.0-or-later
"""A multi-pack-index of ours is git's, to the byte, and git finds by it what it finds without."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest

from gtfs.ids import SHA1, SHA256, ObjectFormat
from gtfs.repo.multipackindex import packs_in, write_multi_pack_index
from gtfs.repo.repository import Repository, create_repository

FAR = 5 << 30  # bytes; in a pack that is a hole


@pytest.fixture(params=[SHA1, SHA256], ids=lambda fmt: fmt.name)
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    """With packs that have some objects in common, and are of different ages."""
    fmt: ObjectFormat = request.param
    made = create_repository(tmp_path / "r.git", fmt)
    oids = [made.git("hash-object", "-w", "--stdin", stdin=b"%d" % n).strip() for n in range(200)]
    some = random.Random(5)
    for number in range(20):
        own = some.sample(oids, 1 + 3 * number)
        name = made.git("pack-objects", "-q", str(directory(made) / "pack"), stdin=b"\n".join(own) + b"\n").decode()
        age(directory(made) / f"pack-{name.strip()}.pack", number // 2 * 1000 + 7 * (-1) ** number)
    made.git("prune-packed", "-q")
    return made


def age(pack: Path, time_s: int) -> None:
    os.utime(pack, (1_500_000_000 + time_s, 1_500_000_000 + time_s))


def directory(repository: Repository) -> Path:
    return repository.objects / "pack"


def by_git(repository: Repository) -> bytes:
    path = directory(repository) / "multi-pack-index"
    path.unlink(missing_ok=True)
    repository.git("multi-pack-index", "write", "--no-progress")
    data = path.read_bytes()
    path.unlink()
    return data


def by_us(repository: Repository) -> bytes:
    path = directory(repository) / "multi-pack-index"
    write_multi_pack_index(directory(repository), path, repository.fmt)
    return path.read_bytes()


def test_it_has_the_bytes_of_gits(repository: Repository) -> None:
    expected = by_git(repository)
    assert by_us(repository) == expected
    repository.git("multi-pack-index", "verify")
    assert len(packs_in(directory(repository) / "multi-pack-index", repository.fmt)) == 20


def test_one_of_gits_is_read(repository: Repository) -> None:
    repository.git("multi-pack-index", "write", "--no-progress")
    names = {path.name for path in directory(repository).glob("*.idx")}
    assert packs_in(directory(repository) / "multi-pack-index", repository.fmt) == names


def test_git_finds_all_objects_by_it_alone(repository: Repository) -> None:
    by_us(repository)
    for index in directory(repository).glob("*.rev"):
        index.unlink()
    assert repository.git("cat-file", "--batch-all-objects", "--batch-check").count(b" blob ") == 200
    repository.git("fsck", "--full")


def test_it_has_the_bytes_of_gits_where_packs_are_larger_than_4_gib(repository: Repository) -> None:
    fmt = repository.fmt
    oids = sorted(fmt.hash_object(b"blob", b"far %d" % n) for n in range(50))
    fanout = struct.pack(">256I", *(sum(oid[0] <= byte for oid in oids) for byte in range(256)))
    offsets = b"".join(struct.pack(">I", n if n % 2 else 1 << 31 | n // 2) for n in range(50))
    far = b"".join(struct.pack(">Q", FAR + n) for n in range(0, 50, 2))
    body = b"\xfftOc\0\0\0\2" + fanout + b"".join(oids) + bytes(200) + offsets + far + bytes(fmt.oid_bytes)
    stem = directory(repository) / "pack-00000000000000000000000000000000000000aa"
    stem.with_suffix(".idx").write_bytes(body + fmt.new(body).digest())
    with stem.with_suffix(".pack").open("wb") as pack:
        pack.truncate(FAR + 4096)
    age(stem.with_suffix(".pack"), 1)
    expected = by_git(repository)
    assert b"LOFF" in expected[:100]
    assert by_us(repository) == expected


@pytest.mark.parametrize(("shared", "umask"), [("group", 0o077), ("0640", 0o022), ("umask", 0o027), ("all", 0o022)])
def test_who_may_read_one_of_gits_may_read_it(tmp_path: Path, shared: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = create_repository(tmp_path / "r.git", SHA1)
        made.git("config", "core.sharedRepository", shared)
        oid = made.git("hash-object", "-w", "--stdin", stdin=b"x")
        made.git("pack-objects", "-q", str(directory(made) / "pack"), stdin=oid)
        made.git("multi-pack-index", "write", "--no-progress")
        path = directory(made) / "multi-pack-index"
        expected = path.stat().st_mode & 0o444
        by_us(made)
        assert path.stat().st_mode & 0o444 == expected
    finally:
        os.umask(before)


def test_the_bitmap_of_one_that_it_takes_the_place_of_goes(tmp_path: Path) -> None:
    made = create_repository(tmp_path / "r.git", SHA1)
    tree = made.git("mktree").decode().strip()
    for number in range(3):
        text = b"tree %s\nauthor a <a@b> %d +0000\ncommitter a <a@b> 0 +0000\n\n" % (tree.encode(), number)
        oid = made.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=text).decode().strip()
        made.git("update-ref", f"refs/heads/{number}", oid)
        made.git("repack", "-d", "-q")
    made.git("multi-pack-index", "write", "--no-progress", "--bitmap")
    assert list(directory(made).glob("multi-pack-index-*.bitmap"))
    by_us(made)
    assert [path.name for path in directory(made).glob("multi-pack-index*")] == ["multi-pack-index"]
    made.git("multi-pack-index", "verify")
