# SPDX-License-Identifier: GPL-3.0-or-later
"""When the kept catalogues were signed."""

from __future__ import annotations

from pathlib import Path

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
