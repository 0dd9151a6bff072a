# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of git ahead comes as if it were read one by one, in whatever order it is wanted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from oddities import OddRepository

from gtfs.ids import SHA1, ObjectId
from gtfs.pack.encode import Encoder
from gtfs.pack.format import BLOB
from gtfs.pack.trees import MissingObject, RawObject
from gtfs.repo.catfile import ASK_MOST, CatFile
from gtfs.repo.repository import Repository, open_repository

SIZES = [0, 1, 40, 1 << 16, (1 << 16) + 1, 1 << 20, (1 << 20) + 1, 3 << 20]
GONE = ObjectId(b"\x42" * 20)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return open_repository(OddRepository(tmp_path / "origin.git").path)


@pytest.fixture
def blobs(repository: Repository) -> dict[ObjectId, bytes]:
    contents = [random.Random(size).randbytes(size) for size in SIZES] + [b"%d" % n for n in range(2 * ASK_MOST)]
    found = {}
    for content in contents:
        oid = repository.git("hash-object", "-w", "--stdin", stdin=content).strip()
        found[ObjectId(bytes.fromhex(oid.decode()))] = content
    return found


@pytest.fixture
def reader(repository: Repository) -> Iterator[CatFile]:
    with CatFile(repository) as made:
        yield made


def test_it_comes_in_the_order_asked(reader: CatFile, blobs: dict[ObjectId, bytes]) -> None:
    reader.ask(blobs)
    for oid, content in blobs.items():
        assert reader.read(oid, 1 << 30) == RawObject(BLOB, len(content), content)


@pytest.mark.parametrize("seed", range(4))
def test_it_comes_in_any_order_and_twice(reader: CatFile, blobs: dict[ObjectId, bytes], seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        reader.ask(chance.sample(list(blobs), chance.randrange(len(blobs))))
        for oid in chance.choices(list(blobs), k=chance.randrange(30)):
            content = blobs[oid]
            limit = chance.choice([0, 40, 1 << 16, 1 << 30])
            data = content if len(content) <= limit else None
            assert reader.read(oid, limit) == RawObject(BLOB, len(content), data)
            if chance.random() < 0.1:
                reader.close()
            if chance.random() < 0.1:
                assert b"".join(reader.stream(oid)) == content


def test_only_who_wants_what_is_missing_hears_of_it(reader: CatFile, blobs: dict[ObjectId, bytes]) -> None:
    first, second, *_ = blobs
    reader.ask([GONE, first, GONE, second])
    assert reader.read(second, 1 << 30).data == blobs[second]
    assert reader.read(first, 1 << 30).data == blobs[first]
    reader.ask([first, GONE, second])
    reader.read(first, 1 << 30)
    for _ in range(2):
        with pytest.raises(MissingObject):
            reader.read(GONE, 1 << 30)
    assert reader.read(second, 1 << 30).data == blobs[second]


def test_what_git_writes_after_it_was_asked_for_is_seen(reader: CatFile, repository: Repository) -> None:
    late = ObjectId(SHA1.hash_object(b"blob", b"late"))
    reader.ask([GONE, late, GONE])
    with pytest.raises(MissingObject):
        reader.read(late, 100)
    repository.git("hash-object", "-w", "--stdin", stdin=b"late")
    assert reader.read(late, 100).data == b"late"


def test_an_encoder_that_is_told_what_comes_makes_the_same_packs(tmp_path: Path) -> None:
    odd = OddRepository(tmp_path / "history.git")
    oids = []
    parents: list[str] = []
    for number in range(12):
        blobs = [odd.put("blob", b"%d of %d\n" % (n, number) * 30) for n in range(number % 5 + 1)]
        tree = odd.tree(*((b"100644", b"f%d" % n, blob) for n, blob in enumerate(blobs)))
        parents = [odd.commit(tree, *parents)]
        oids.append(ObjectId(bytes.fromhex(parents[0])))
    repository = open_repository(odd.path)
    made: list[list[bytes]] = []
    for told in ([], oids, oids[::-1], [GONE, *oids[3:], GONE]):
        with CatFile(repository) as reader:
            encoder = Encoder(reader, repository.fmt)
            encoder.begin(told)
            made.append([])
            for oid in oids:
                encoder.encode(oid, made[-1].append)
    assert all(packs == made[0] for packs in made)
