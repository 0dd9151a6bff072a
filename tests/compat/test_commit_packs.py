# SPDX-License-Identifier: GPL-3.0-or-later
"""Commit packs of real repositories: the vectors' bytes in any order and company, and git's agreement."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from gtfs.ids import SHA256, ObjectId
from gtfs.pack.decode import decode
from gtfs.pack.encode import Encoder, PackStamp
from gtfs.pack.limits import Limits
from gtfs.pack.scan import scan
from gtfs.pack.trees import MissingObject, Unencodable
from gtfs.repo.catfile import CatFile
from gtfs.repo.encoding import encode_many
from gtfs.repo.history import history
from gtfs.repo.repository import Repository, open_repository
from gtfs.repo.work import Work

VECTORS = Path(__file__).parents[1] / "vectors"
ROWS = [line.split() for line in (VECTORS / "odd.packs").read_text().splitlines() if not line.startswith("#")]


def oid_of(text: str) -> ObjectId:
    return ObjectId(bytes.fromhex(text))


def encode(encoder: Encoder, oid: ObjectId) -> tuple[bytes, PackStamp]:
    parts: list[bytes] = []
    stamp = encoder.encode(oid, parts.append)
    return b"".join(parts), stamp


def check(repository: Repository, rows: list[list[str]]) -> None:
    with CatFile(repository) as reader:
        encoder = Encoder(reader, repository.fmt)
        for name, length, trailer, digest in rows:
            data, stamp = encode(encoder, oid_of(name))
            assert hashlib.sha256(data).hexdigest() == digest, name
            assert (len(data), data[-20:].hex()) == (int(length), trailer)
            assert (stamp.length, stamp.digest.hex()) == (int(length), digest)


def git(path: Path, *args: str, text: str | None = None) -> str:
    done = subprocess.run(["git", "-C", str(path), *args], input=text, text=True, capture_output=True, check=True)
    return done.stdout.strip()


def test_every_vector_in_history_order(odd_repository: Path) -> None:
    check(open_repository(odd_repository), ROWS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_vector_in_any_order(odd_repository: Path, seed: int) -> None:
    rows = ROWS[:]
    random.Random(seed).shuffle(rows)
    check(open_repository(odd_repository), rows)


def test_every_vector_alone(odd_repository: Path) -> None:
    repository = open_repository(odd_repository)
    for row in ROWS[::7]:
        check(repository, [row])


def test_replace_refs_and_grafts_change_nothing(odd_repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.git"
    shutil.copytree(odd_repository, copy)
    tips = [row[0] for row in ROWS[:178]]
    git(copy, "replace", "-f", tips[50], tips[60])
    (copy / "info").mkdir(exist_ok=True)
    (copy / "info" / "grafts").write_text(f"{tips[70]}\n")
    check(open_repository(copy), ROWS)


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_vector_by_several_processes(odd_repository: Path, tmp_path: Path, jobs: int) -> None:
    repository = open_repository(odd_repository)
    found = {}
    for run in encode_many(repository, [oid_of(r[0]) for r in ROWS], tmp_path, Limits(), Work(jobs)):
        data = run.spool.read_bytes()
        for stamp, offset in run.made:
            found[stamp.oid.hex()] = hashlib.sha256(data[offset : offset + stamp.length]).hexdigest()
        assert not run.unmade
    assert found == {row[0]: row[3] for row in ROWS}


def count_made(path: Path, spools: Path) -> int:
    runs = encode_many(open_repository(path), [oid_of(r[0]) for r in ROWS], spools, Limits(), Work(jobs=2))
    return sum(len(run.made) for run in runs)


def test_a_process_that_multiprocessing_started_encodes_by_several_processes_too(
    odd_repository: Path, tmp_path: Path
) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(count_made, odd_repository, tmp_path).result() == len(ROWS)


def test_entries_are_those_of_the_vectors(odd_repository: Path) -> None:
    repository = open_repository(odd_repository)
    wanted: dict[str, list[list[str]]] = {}
    for line in (VECTORS / "odd.entries").read_text().splitlines():
        if line.endswith(".pack"):
            entries = wanted.setdefault(line.removesuffix(".pack"), [])
        elif line.strip() and not line.startswith("#"):
            entries.append(line.split())
    with CatFile(repository) as reader:
        encoder = Encoder(reader, repository.fmt)
        for name, entries in wanted.items():
            data, _ = encode(encoder, oid_of(name))
            found = scan(data, repository.fmt, Limits())

            def lookup(oid: ObjectId) -> tuple[int, bytes]:
                raw = reader.read(oid, 1 << 40)
                return raw.kind, raw.data or b""

            decoded = decode(data, found, repository.fmt, Limits(), lookup)
            shown = [
                [str(d.entry.kind), d.oid.hex(), d.entry.base.hex() if d.entry.base else "-", str(d.entry.size)]
                for d in decoded
            ]
            assert shown == entries, name


def test_history_is_what_the_vectors_list(odd_repository: Path) -> None:
    found = list(history(open_repository(odd_repository)))
    assert {oid.hex() for oid in found} == {row[0] for row in ROWS}
    assert len(set(found)) == len(found)


def test_a_pack_holds_what_rev_list_says(odd_repository: Path) -> None:
    repository = open_repository(odd_repository)
    with CatFile(repository) as reader:
        encoder = Encoder(reader, repository.fmt)
        for name, *_ in ROWS[:178:5]:
            data, stamp = encode(encoder, oid_of(name))
            parents = [p.hex() for p in stamp.parents]
            out = git(odd_repository, "rev-list", "--objects", name, *(["--not", *parents] if parents else []))
            wanted = {line.split()[0] for line in out.splitlines()}
            found = scan(data, repository.fmt, Limits())

            def lookup(oid: ObjectId) -> tuple[int, bytes]:
                raw = reader.read(oid, 1 << 40)
                return raw.kind, raw.data or b""

            assert {d.oid.hex() for d in decode(data, found, repository.fmt, Limits(), lookup)} == wanted


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., Path]:
    def make(*init: str) -> Path:
        path = tmp_path / "work"
        subprocess.run(["git", "init", "-q", "-b", "main", *init, str(path)], check=True)
        return path

    return make


def commit(path: Path, message: str) -> ObjectId:
    git(path, "add", "-A")
    git(path, "commit", "-q", "--allow-empty", "-m", message)
    return oid_of(git(path, "rev-parse", "HEAD"))


def test_git_takes_packs_of_a_sha256_repository(work: Callable[..., Path], tmp_path: Path) -> None:
    path = work("--object-format=sha256")
    oids = []
    for number in range(5):
        (path / "file").write_text("".join(f"line {i} {number if i == 7 else ''}\n" for i in range(100)))
        oids.append(commit(path, f"number {number}"))
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(path), str(bare)], check=True)
    repository = open_repository(bare)
    assert repository.fmt is SHA256
    target = tmp_path / "target.git"
    subprocess.run(["git", "init", "-q", "--bare", "--object-format=sha256", str(target)], check=True)
    with CatFile(repository) as reader:
        encoder = Encoder(reader, repository.fmt)
        for oid in oids:
            data, _ = encode(encoder, oid)
            assert data[-32:] == hashlib.sha256(data[:-32]).digest()
            subprocess.run(
                ["git", "-C", str(target), "index-pack", "--stdin", "--fix-thin", "--strict"],
                input=data, check=True, capture_output=True,
            )  # fmt: skip
    assert git(target, "cat-file", "-t", oids[-1].hex()) == "commit"


def test_large_blobs_are_whole_in_segments_and_git_takes_them(work: Callable[..., Path], tmp_path: Path) -> None:
    path = work()
    noise = random.Random(1).randbytes(1 << 20)
    (path / "big").write_bytes(noise * 33)
    first = commit(path, "33 MiB")
    (path / "big").write_bytes(noise * 33 + b"more")
    second = commit(path, "and a little")
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(path), str(bare)], check=True)
    repository = open_repository(bare)
    with CatFile(repository) as reader:
        encoder = Encoder(reader, repository.fmt)
        for oid in (first, second):
            data, _ = encode(encoder, oid)
            blob = scan(data, repository.fmt, Limits()).entries[-1]
            assert blob.kind == 3, "over 32 MiB an object is whole, even with a base"
            assert data[blob.data : blob.data + 2] == b"\x78\x01"
            subprocess.run(
                ["git", "-C", str(bare), "index-pack", "--stdin", "--fix-thin"], input=data, check=True,
                capture_output=True,
            )  # fmt: skip


def test_a_shallow_clone_says_which_commit_cannot_be_made(work: Callable[..., Path], tmp_path: Path) -> None:
    path = work()
    for number in range(3):
        (path / "file").write_text(f"{number}\n" * 100)
        tip = commit(path, f"number {number}")
    bare = tmp_path / "shallow.git"
    subprocess.run(["git", "clone", "-q", "--bare", "--depth=1", f"file://{path}", str(bare)], check=True)
    repository = open_repository(bare)
    assert repository.is_shallow()
    with CatFile(repository) as reader, pytest.raises(MissingObject):
        encode(Encoder(reader, repository.fmt), tip)


def test_a_partial_clone_fetches_nothing_and_says_what_is_missing(work: Callable[..., Path], tmp_path: Path) -> None:
    path = work()
    git(path, "config", "uploadpack.allowFilter", "true")
    for number in range(3):
        (path / "file").write_text(f"{number}\n" * 100)
        tip = commit(path, f"number {number}")
    bare = tmp_path / "partial.git"
    subprocess.run(["git", "clone", "-q", "--bare", "--filter=blob:none", f"file://{path}", str(bare)], check=True)
    repository = open_repository(bare)
    before = sorted((bare / "objects").rglob("*"))
    with CatFile(repository) as reader:
        encoder = Encoder(reader, repository.fmt)
        for _ in range(2):
            with pytest.raises(Unencodable):
                encode(encoder, tip)
    assert sorted((bare / "objects").rglob("*")) == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_stopping_keeps_what_was_finished(odd_repository: Path, tmp_path: Path, jobs: int) -> None:
    repository = open_repository(odd_repository)
    asked = False

    def stop() -> bool:
        return asked

    made = 0
    for run in encode_many(repository, [oid_of(r[0]) for r in ROWS], tmp_path, Limits(), Work(jobs, stop)):
        size = run.spool.stat().st_size
        assert size == sum(stamp.length for stamp, _ in run.made), "a torn pack is in the spool"
        made += len(run.made)
        asked = True
    assert 0 < made <= len(ROWS)
