# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of git ahead comes as if it were read one by one, in whatever order it is wanted."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from oddities import OddRepository

from gtfs.ids import SHA1, ObjectId
from gtfs.pack.encode import Encoder
from gtfs.pack.format import BLOB
from gtfs.pack.trees import MissingObject, RawObject, Unencodable
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


def test_what_is_wanted_out_of_turn_puts_aside_only_what_comes_before_it(
    reader: CatFile, blobs: dict[ObjectId, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = max(blobs, key=lambda oid: len(blobs[oid]))  # which is not kept when it is in the way
    small = [oid for oid in blobs if len(blobs[oid]) < 10]
    questions: list[Sequence[ObjectId]] = []
    write = CatFile._write
    monkeypatch.setattr(CatFile, "_write", lambda self, oids: (questions.append(oids), write(self, oids))[1])
    reader.ask([small[0], small[1], large, small[2]])
    for oid in (small[1], large, small[0], small[2]):
        assert reader.read(oid, 1 << 30).data == blobs[oid]
    assert len(questions) == 1


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


class Counting(CatFile):
    """Counts how often git is asked and waited for."""

    questions = 0

    def _write(self, oids: Sequence[ObjectId]) -> None:
        self.questions += 1
        super()._write(oids)


def history(odd: OddRepository, commits: int) -> list[ObjectId]:
    """Each commit changes a file three directories down, and a file beside it."""
    oids, parents = [], list[str]()
    for number in range(commits):
        blobs = [odd.put("blob", b"%d, %d\n" % (n, number) * 30) for n in range(2)]
        tree = odd.tree((b"100644", b"f", blobs[0]))
        for name in (b"a", b"b", b"c"):
            tree = odd.tree((b"100644", b"0", blobs[1]), (b"40000", name, tree))
        parents = [odd.commit(tree, *parents)]
        oids.append(ObjectId(bytes.fromhex(parents[0])))
    return oids


def packs_of(repository: Repository, oids: list[ObjectId], told: list[ObjectId]) -> tuple[list[bytes | str], int]:
    made: list[bytes | str] = []
    with Counting(repository) as reader:
        encoder = Encoder(reader, repository.fmt)
        encoder.begin(told)
        for oid in oids:
            parts: list[bytes] = []
            try:
                encoder.encode(oid, parts.append)
                made.append(b"".join(parts))
            except Unencodable as error:
                made.append(str(error))
        return made, reader.questions


def test_small_packs_in_the_order_of_history_are_few_questions(tmp_path: Path) -> None:
    odd = OddRepository(tmp_path / "history.git")
    oids = history(odd, 30)
    repository = open_repository(odd.path)
    one_by_one, many = packs_of(repository, oids, [])
    assert many > 100
    together, few = packs_of(repository, oids, oids)
    assert together == one_by_one and few < 30


@pytest.mark.parametrize("at", [0, 7, 29])
def test_what_is_missing_spoils_the_packs_that_need_it_and_none_of_their_neighbours(tmp_path: Path, at: int) -> None:
    odd = OddRepository(tmp_path / "history.git")
    oids = history(odd, 30)
    repository = open_repository(odd.path)
    for path in ("", ":", ":c/b", ":c/b/a/f"):
        spoilt = odd.git("rev-parse", oids[at].hex() + path)
        lost = odd.path / "objects" / spoilt[:2] / spoilt[2:]
        data = lost.read_bytes()
        lost.unlink()
        one_by_one, _ = packs_of(repository, oids, [])
        together, _ = packs_of(repository, oids, oids)
        assert together == one_by_one and isinstance(together[at], str)
        assert sum(isinstance(pack, str) for pack in together) <= 2
        lost.write_bytes(data)
