# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused is kept with its reason, or nothing of it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtfs.ids import ObjectId
from gtfs.ingest.quarantine import Quarantine

OID = ObjectId(b"\x11" * 20)


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    path = tmp_path / "refused"
    path.write_bytes(b"bad")
    return path


def test_any_reason_can_be_written_and_read_again(tmp_path: Path, refused: Path) -> None:
    quarantine = Quarantine(tmp_path / "q")
    quarantine.keep(refused, OID, "Jörg \udcff")
    assert [(f.path.read_bytes(), f.reason) for f in quarantine.refused()] == [(b"bad", "Jörg \\udcff")]


def test_of_a_file_that_is_gone_no_reason_stays(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q")
    with pytest.raises(FileNotFoundError):
        quarantine.keep(tmp_path / "gone", OID, "bad")
    assert os.listdir(quarantine.directory) == []


def test_a_file_that_another_drops_meanwhile_fails_nothing(
    tmp_path: Path, refused: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine = Quarantine(tmp_path / "q", 0)
    glob = Path.glob

    def with_one_more(self: Path, pattern: str) -> Iterator[Path]:
        yield from glob(self, pattern)
        yield self / "0-dropped.pack"

    monkeypatch.setattr(Path, "glob", with_one_more)
    quarantine.keep(refused, OID, "bad")
    assert os.listdir(quarantine.directory) == []
