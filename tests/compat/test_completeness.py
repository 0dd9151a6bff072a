# SPDX-License-Identifier: GPL-3.0-or-later
"""`gtfs fsck` sees what lacks an object, and how two repositories differ."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from oddities import OddRepository

from gtfs.ids import SHA1, ObjectId
from gtfs.pack.walk import Introduced, Walker
from gtfs.reel.index import Index
from gtfs.repo.repository import open_repository
from gtfs.repo.work import Work
from gtfs.state.acceptedfaults import accept_faults
from gtfs.state.compare import compare
from gtfs.state.config import Config
from gtfs.state.fsck import check
from gtfs.state.sealing import seal
from gtfs.state.state import State


@pytest.fixture
def odd(tmp_path: Path) -> OddRepository:
    """Three commits, the second with a directory of mode 40755."""
    odd = OddRepository(tmp_path / "odd.git")
    inside = odd.tree((b"100644", b"file", odd.put("blob", b"inside\n")))
    first = odd.commit(odd.plain)
    second = odd.commit(odd.tree((b"100644", b"a", odd.blob), (b"40755", b"d", inside)), first)
    odd.ref("refs/heads/main", odd.commit(odd.tree((b"40000", b"d", inside)), second))
    odd.ref("refs/tags/v1", odd.tag(first, b"tag v1\ntagger A <a@b> 1 +0000\n\nm\n"))
    return odd


def complaints(path: Path, *, take_up: bool = True) -> list[str]:
    with State(open_repository(path)) as state:
        if take_up:
            state.take_up(Work(jobs=1))
        return list(check(state, lambda done, total: None))


def test_whole_packs_are_complete(odd: OddRepository, odd_repository: Path, tmp_path: Path) -> None:
    assert complaints(odd.path) == []
    copy = tmp_path / "copy.git"
    shutil.copytree(odd_repository, copy)
    assert complaints(copy) == []


def test_a_pack_without_one_of_its_objects_is_seen(odd: OddRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an encoder did that took a directory of mode 40755 for a file."""
    whole = Walker._new_objects

    def in_part(self: Walker, root: ObjectId, old: list[ObjectId]) -> list[Introduced]:
        found = whole(self, root, old)
        return found[:1] if old and len(found) > 2 else found

    with monkeypatch.context() as patch:
        patch.setattr(Walker, "_new_objects", in_part)
        assert len(complaints(odd.path)) == 0  # as long as both have the same wrong idea
    (line,) = complaints(odd.path, take_up=False)
    assert "is not complete: it lacks " in line
    assert " and 1 more" in line


def test_a_pack_whose_parent_has_none_is_seen(odd: OddRepository) -> None:
    assert complaints(odd.path) == []
    first = odd.git("rev-list", "--max-parents=0", "refs/heads/main")
    index = Index(odd.path / "gtfs" / "node.db")
    with index.transaction():
        index.packs.drop([ObjectId(bytes.fromhex(first))])
    index.close()
    found = complaints(odd.path, take_up=False)
    assert sum(f"there is no pack of its parent {first}" in line for line in found) == 2


def test_a_publisher_hears_of_what_an_older_program_sealed_for_no_mirror(odd: OddRepository) -> None:
    dotgit = odd.tree((b"40000", b".git", odd.plain))
    odd.ref("refs/heads/main", odd.commit(dotgit, odd.git("rev-parse", "main")))
    assert complaints(odd.path) == []
    repository = open_repository(odd.path)
    Config(repository).set("signkey", "A" * 40)
    assert complaints(odd.path) == []  # publish will say it
    with State(repository) as state:
        seal(state, dict.fromkeys(row.oid for row in state.index.packs.open_rows()))
    (line,) = complaints(odd.path)
    assert "refused by every mirror" in line
    assert f"--accept-fault {dotgit}" in line
    accept_faults(repository, [ObjectId(bytes.fromhex(dotgit))])
    assert complaints(odd.path) == []


def test_what_git_has_lost_is_seen(odd: OddRepository) -> None:
    assert complaints(odd.path) == []
    (odd.path / "objects" / odd.blob[:2] / odd.blob[2:]).unlink()
    (line,) = complaints(odd.path, take_up=False)
    assert odd.blob in line
    assert "git has lost" in line


@pytest.fixture
def clone(odd: OddRepository, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "clone.git"
    shutil.copytree(odd.path, path)
    yield path


def differences(here: Path, other: Path) -> list[str]:
    return list(compare(open_repository(here), open_repository(other), lambda count: None))


def test_copies_do_not_differ(odd: OddRepository, clone: Path, tmp_path: Path) -> None:
    assert differences(odd.path, clone) == []
    odd.ref("refs/gtfs/tips/" + odd.git("rev-parse", "main"), odd.git("rev-parse", "main"))
    work = tmp_path / "work"
    work.mkdir()
    shutil.copytree(clone, work / ".git")
    assert differences(odd.path, work) == []


def test_refs_that_differ_are_named(odd: OddRepository, clone: Path) -> None:
    odd.ref("refs/heads/main", odd.git("rev-parse", "main^"))
    odd.ref("refs/heads/only\x7f".replace("\x7f", "-here"), odd.git("rev-parse", "main"))
    odd.git("symbolic-ref", "HEAD", "refs/heads/only-here")
    found = differences(odd.path, clone)
    assert any(line.startswith("refs/heads/main is at ") for line in found)
    assert any(line.startswith("refs/heads/only-here is at ") and "nowhere" in line for line in found)
    assert any(line.startswith("HEAD is refs/heads/only-here here") for line in found)


def test_objects_that_only_one_has_are_counted(odd: OddRepository, clone: Path) -> None:
    new = odd.commit(odd.tree((b"100644", b"new", odd.put("blob", b"new\n"))), odd.git("rev-parse", "main"))
    odd.ref("refs/heads/main", new)
    assert any(f"3 objects of {odd.path} are not in {clone}" in line for line in differences(odd.path, clone))
    assert any(f"3 objects of {odd.path} are not in {clone}" in line for line in differences(clone, odd.path))


def test_bytes_that_are_not_what_their_id_says_are_seen(odd: OddRepository, clone: Path) -> None:
    loose = clone / "objects" / odd.blob[:2] / odd.blob[2:]
    loose.chmod(0o644)
    loose.write_bytes(zlib.compress(b"blob 2\0b\n"))
    assert any(odd.blob in line for line in differences(clone, odd.path))


def test_a_repository_of_another_hash_differs(odd: OddRepository, tmp_path: Path) -> None:
    other = tmp_path / "other.git"
    odd.git("init", "-q", "--bare", "--object-format=sha256", str(other))
    (line,) = differences(odd.path, other)
    assert SHA1.name in line
    assert "sha256" in line
