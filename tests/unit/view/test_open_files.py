# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from gtfs.reel.table import CorruptReel
from gtfs.view import openfiles
from gtfs.view.openfiles import OpenFiles


def open_files(directory):
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(os.readlink(link).startswith(str(directory)) for link in links)


def test_ranges_are_read_and_a_short_file_is_said(tmp_path):
    path = tmp_path / "reel"
    path.write_bytes(bytes(range(256)) * 10_000)

    async def test():
        files = OpenFiles()
        assert await files.read(path, 255, 3) == b"\xff\0\1"
        assert len(await files.read(path, 0, 2_560_000)) == 2_560_000
        with pytest.raises(CorruptReel):
            await files.read(path, 2_559_999, 2)
        files.forget()

    trio.run(test)


def test_a_replaced_file_is_read_anew_once_forgotten(tmp_path):
    path, other = tmp_path / "reel", tmp_path / "other"
    path.write_bytes(b"old")
    other.write_bytes(b"new")

    async def test():
        files = OpenFiles()
        assert await files.read(path, 0, 3) == b"old"
        other.replace(path)
        files.forget()
        assert await files.read(path, 0, 3) == b"new"
        files.forget()

    trio.run(test)


def test_few_files_stay_open_and_none_after_forgetting(tmp_path, monkeypatch):
    monkeypatch.setattr(openfiles, "_OPEN_FILES", 4)

    async def test():
        files = OpenFiles()
        for number in range(20):
            path = tmp_path / f"{number}"
            path.write_bytes(b"%03d" % number)
            assert await files.read(path, 0, 3) == b"%03d" % number
        assert 1 <= open_files(tmp_path) <= 4
        files.forget()
        assert open_files(tmp_path) == 0

    trio.run(test)
