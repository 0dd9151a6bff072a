# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches on their way into git: what one pack stands on may be in a pack whose contents no batch keeps."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest import batch
from gtfs.ingest.candidate import Candidate
from gtfs.pack import decode
from gtfs.pack.format import OFS_DELTA
from gtfs.pack.limits import Limits
from gtfs.pack.scan import scan
from gtfs.repo.repository import create_repository, open_repository
from gtfs.state.state import State


@pytest.fixture
def offered(odd_repository: Path, tmp_path: Path) -> list[Candidate]:
    """Every commit pack in one file, parents first."""
    path = tmp_path / "odd.git"
    subprocess.run(["git", "clone", "-q", "--mirror", str(odd_repository), str(path)], check=True)
    with State(open_repository(path)) as state:
        state.take_up()
        return [
            Candidate(row.oid, state.layout.open_reel, row.offset or 0, row.size, row.digest, is_ours=True)
            for row in state.index.packs.open_rows()
        ]


def let_in(offered: list[Candidate], path: Path) -> set[ObjectId]:
    with State(create_repository(path, SHA1)) as state:
        outcome = state.ingest().run(offered)
        assert not outcome.refused
        assert not outcome.waiting
        for candidate in offered:
            assert state.repository.git("cat-file", "-t", candidate.oid.hex()).strip() in (b"commit", b"tag")
        state.repository.git("fsck", "--full", "--connectivity-only")
        return set(outcome.unpacked)


def test_deltas_find_bases_in_packs_too_large_to_be_kept(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "HELD_BYTES", 50_000)
    assert let_in(offered, tmp_path / "mirror.git") == {c.oid for c in offered}


def test_small_batches_let_everything_in(
    offered: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_PACKS", 7)
    assert let_in(offered, tmp_path / "mirror.git") == {c.oid for c in offered}


def test_foreign_deltas_by_offset_come_in_though_nothing_holds_what_they_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "STREAM_BYTES", 1000)
    work, seed = tmp_path / "work", random.Random(7)
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    text = seed.randbytes(40_000)
    for number in range(5):
        (work / f"f{number}").write_bytes(text + b"%d" % number)
    git = ["git", "-C", str(work), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "five alike"], check=True)
    listed = subprocess.run([*git, "rev-list", "--objects", "HEAD"], capture_output=True, check=True).stdout
    made = [*git, "pack-objects", "--stdout", "--delta-base-offset", "--no-reuse-delta"]
    pack = subprocess.run(made, input=listed, capture_output=True, check=True).stdout
    assert any(entry.kind == OFS_DELTA for entry in scan(pack, SHA1, Limits()).entries)
    path = tmp_path / "foreign.pack"
    path.write_bytes(pack)
    oid = ObjectId(bytes.fromhex(listed.split()[0].decode()))
    assert let_in([Candidate(oid, path, 0, len(pack), None, is_ours=False)], tmp_path / "mirror.git") == {oid}
