# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkouts are removed however they came to be as they are."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from gtfs.repo.checkout import take_away


def test_directories_in_each_other_are_removed_however_many_they_are(tmp_path: Path) -> None:
    top, kept = tmp_path / "top", tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(1500):  # Python calls itself a thousand times
        os.mkdir("deeper", dir_fd=fd)
        os.mkdir("empty", dir_fd=fd)
        os.symlink(kept, "link", dir_fd=fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
        inner = os.open("deeper", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    try:
        take_away(top)
        assert not top.exists()
    finally:
        subprocess.run(["rm", "-rf", top], check=True)  # pytest could not
    assert (kept / "file").read_text() == "kept"


def test_what_cannot_be_removed_keeps_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "top"
    for name in ("a", "b", "c"):
        (top / name).mkdir(parents=True)
        (top / name / name).write_text("file")
    unlink = os.unlink

    def fail(name: str, *, dir_fd: int) -> None:
        if name == "b":
            raise OSError(errno.EPERM, "Operation not permitted")
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", fail)
    with pytest.raises(PermissionError):
        take_away(top)
    assert [path.relative_to(top).as_posix() for path in sorted(top.rglob("*"))] == ["b", "b/b"]


def test_a_link_is_no_directory_to_remove(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    with pytest.raises(OSError, match="link"):
        take_away(tmp_path / "link")
    assert (tmp_path / "kept").is_dir()
