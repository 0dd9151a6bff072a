# SPDX-License-Identifier: GPL-3.0-or-later
"""What an entry of a tree is follows git, whatever its mode's digits; what is not as it is named stops the encoder."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from oddities import OddRepository

from gtfs.ids import SHA1, ObjectId
from gtfs.pack.decode import decode
from gtfs.pack.encode import Encoder
from gtfs.pack.format import BLOB, COMMIT, TREE
from gtfs.pack.limits import Limits
from gtfs.pack.objects import kind_of_mode
from gtfs.pack.scan import scan
from gtfs.pack.trees import MissingObject, Unencodable, WrongKind
from gtfs.repo.catfile import CatFile
from gtfs.repo.history import history
from gtfs.repo.repository import Repository, open_repository

VECTORS = Path(__file__).parents[1] / "vectors"
ROWS = [line.split() for line in (VECTORS / "odd-modes.packs").read_text().splitlines() if not line.startswith("#")]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    path = tmp_path / "modes.git"
    git = ["git", f"--git-dir={path}"]
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    with (VECTORS / "odd-modes.pack").open("rb") as pack:
        subprocess.run([*git, "index-pack", "--stdin"], stdin=pack, stdout=subprocess.DEVNULL, check=True)
    for line in (VECTORS / "odd-modes.refs").read_text().splitlines():
        oid, name = line.split()
        subprocess.run([*git, "update-ref", name, oid], check=True)
    return open_repository(path)


def encode(repository: Repository, oid: ObjectId) -> bytes:
    parts: list[bytes] = []
    with CatFile(repository) as reader:
        Encoder(reader, repository.fmt).encode(oid, parts.append)
    return b"".join(parts)


def test_packs_of_odd_modes_are_those_of_the_vectors_in_any_order(repository: Repository) -> None:
    assert [oid.hex() for oid in history(repository)] == [row[0] for row in ROWS]
    with CatFile(repository) as reader:
        encoder = Encoder(reader, repository.fmt)
        for name, length, _, digest in [*ROWS, *ROWS[::-1]]:
            parts: list[bytes] = []
            encoder.encode(ObjectId(bytes.fromhex(name)), parts.append)
            data = b"".join(parts)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (int(length), digest)


def test_packs_of_odd_modes_hold_what_git_reaches(repository: Repository) -> None:
    entries: dict[str, set[str]] = {}
    for line in (VECTORS / "odd-modes.entries").read_text().splitlines():
        if line.endswith(".pack"):
            found = entries.setdefault(line.removesuffix(".pack"), set())
        elif not line.startswith("#"):
            found.add(line.split()[1])
    for name, oids in entries.items():
        kind = repository.git("cat-file", "-t", name).strip()
        if kind == b"commit":
            listed = repository.git("rev-list", "--objects", name, "--not", f"{name}^@").decode()
            assert {line.split()[0] for line in listed.splitlines()} == oids
    assert sum(map(len, entries.values())) > 100


def test_the_type_bits_decide_however_many_digits_there_are() -> None:
    trees = (b"40000", b"040000", b"40755", b"0040775", b"1040000", b"7" * 30 + b"0040000")
    assert {kind_of_mode(mode) for mode in trees} == {TREE}
    assert {kind_of_mode(mode) for mode in (b"160000", b"0160000", b"160755", b"3160000")} == {COMMIT}
    blobs = (b"100644", b"0100644", b"100664", b"120000", b"0", b"644", b"40", b"20000", b"140000", b"170000")
    assert {kind_of_mode(mode) for mode in blobs} == {BLOB}


@pytest.mark.parametrize("digits", [b"10064x", b"", b"-100644"])
def test_a_mode_that_is_no_number_makes_no_pack(tmp_path: Path, digits: bytes) -> None:
    odd = OddRepository(tmp_path / "odd.git")
    oid = odd.commit(odd.tree((digits, b"a", odd.blob)))
    with pytest.raises(Unencodable, match="whole entries"):
        encode(open_repository(odd.path), ObjectId(bytes.fromhex(oid)))


def test_what_is_not_of_the_kind_that_its_mode_says_makes_no_pack(tmp_path: Path) -> None:
    odd = OddRepository(tmp_path / "odd.git")
    repository = open_repository(odd.path)
    first = odd.commit(odd.plain)
    for root in (
        odd.tree((b"100644", b"d", odd.plain)),
        odd.tree((b"40755", b"a", odd.blob)),
        odd.tree((b"100644", b"c", first)),
        odd.blob,
        first,
    ):
        with pytest.raises(WrongKind):
            encode(repository, ObjectId(bytes.fromhex(odd.commit(root))))
    big = odd.put("blob", bytes(33 << 20))
    with pytest.raises(WrongKind):
        encode(repository, ObjectId(bytes.fromhex(odd.commit(odd.tree((b"40000", b"big", big))))))
    for oid in (odd.blob, odd.plain):
        with pytest.raises(WrongKind):
            encode(repository, ObjectId(bytes.fromhex(odd.tag(oid, b"tag v1\n\n"))))
    with pytest.raises(WrongKind):
        encode(repository, ObjectId(bytes.fromhex(odd.commit(odd.plain, odd.plain))))


def test_an_object_that_was_right_once_is_still_wrong_elsewhere(tmp_path: Path) -> None:
    odd = OddRepository(tmp_path / "odd.git")
    repository = open_repository(odd.path)
    blob = odd.put("blob", b"x" * 100)
    good = odd.commit(odd.tree((b"100644", b"a", blob)))
    bad = odd.commit(odd.tree((b"40000", b"a", blob)))
    with CatFile(repository) as reader:
        encoder = Encoder(reader, SHA1)
        encoder.encode(ObjectId(bytes.fromhex(good)), len)
        with pytest.raises(WrongKind):
            encoder.encode(ObjectId(bytes.fromhex(bad)), len)


def test_a_tag_of_a_commit_that_is_missing_makes_no_pack(tmp_path: Path) -> None:
    odd = OddRepository(tmp_path / "odd.git")
    with pytest.raises(MissingObject):
        encode(open_repository(odd.path), ObjectId(bytes.fromhex(odd.tag("13" * 20, b"tag v1\n\n"))))


def test_packs_of_odd_modes_decode_to_what_they_were_made_of(repository: Repository) -> None:
    with CatFile(repository) as reader:

        def lookup(oid: ObjectId) -> tuple[int, bytes]:
            raw = reader.read(oid, 1 << 40)
            return raw.kind, raw.data or b""

        for name, *_ in ROWS:
            data = encode(repository, ObjectId(bytes.fromhex(name)))
            for item in decode(data, scan(data, SHA1, Limits()), SHA1, Limits(), lookup):
                assert reader.read(item.oid, 1 << 40) == (item.kind, item.size, item.data)
