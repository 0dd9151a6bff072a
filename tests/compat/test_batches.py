# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches on their way into git: what one pack stands on may be in a pack whose contents no batch keeps."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest import batch
from gtfs.ingest.candidate import Candidate
from gtfs.node.state import State
from gtfs.pack import decode
from gtfs.repo.repository import create_repository, open_repository


@pytest.fixture
def offered(odd_repository: Path, tmp_path: Path) -> list[Candidate]:
    """Every commit pack in one file, parents first."""
    path = tmp_path / "odd.git"
    subprocess.run(["git", "clone", "-q", "--mirror", str(odd_repository), str(path)], check=True)
    with State(open_repository(path)) as state:
        state.take_up()
        return [
            Candidate(row.oid, state.open_reel_path, row.offset or 0, row.size, row.digest, is_ours=True)
            for row in state.index.open_rows()
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
