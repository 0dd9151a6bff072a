# SPDX-License-Identifier: GPL-3.0-or-later
"""When the kept catalogues were signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtfs.catalogue.dates import PublishDates

TEXT = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nFormat: x\nRepository: demo\nVersion: 1\nDate: {}\n"


def test_each_version_is_read_once_and_what_cannot_be_read_is_missing(tmp_path: Path) -> None:
    (tmp_path / "1.asc").write_text(TEXT.format("2026-11-22T14:39:26Z"))
    (tmp_path / "2.asc").write_text(TEXT.format("yesterday"))
    (tmp_path / "3.asc").write_bytes(b"\xff" * 100)
    dates = PublishDates(tmp_path)
    assert dates.of([4, 3, 2, 1]) == {1: 1795358366}
    (tmp_path / "1.asc").unlink()
    assert dates.of([1]) == {1: 1795358366}
    assert dates.of([]) == {} and dates.of([1]) == {}


def test_who_looks_while_another_thread_does_has_all_that_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        (tmp_path / f"{version}.asc").write_text(TEXT.format("2026-11-22T14:39:26Z"))
    dates = PublishDates(tmp_path)
    dates.of([1])
    read = PublishDates._read

    def read_late(self: PublishDates, version: int) -> int | None:
        monkeypatch.undo()
        assert dates.of([]) == {}  # as another thread, for which the first has gone by now
        return read(self, version)

    monkeypatch.setattr(PublishDates, "_read", read_late)
    assert list(dates.of([1, 2])) == [1, 2]
