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
    iterdir = Path.iterdir

    def with_one_more(self: Path) -> Iterator[Path]:
        yield from iterdir(self)
        yield self / f"{0:020d}-{OID.hex()}.pack"

    monkeypatch.setattr(Path, "iterdir", with_one_more)
    quarantine.keep(refused, OID, "bad")
    assert os.listdir(quarantine.directory) == []


@pytest.mark.parametrize("limit", [0, 1 << 30])
@pytest.mark.parametrize("name", ["X.pack", f"{'²' * 20}-{OID.hex()}.pack", f"{0:020d}-{OID.hex()}.pack.pack"])
def test_what_somebody_else_put_there_is_left_alone(tmp_path: Path, refused: Path, name: str, limit: int) -> None:
    quarantine = Quarantine(tmp_path / "q", limit)
    (quarantine.directory / name).write_bytes(b"theirs")
    (quarantine.directory / "directory.pack").mkdir()
    quarantine.keep(refused, OID, "bad")
    assert [f.reason for f in quarantine.refused()] == (["bad"] if limit else [])
    assert {name, "directory.pack"} <= set(os.listdir(quarantine.directory))
    assert (quarantine.directory / name).read_bytes() == b"theirs"
