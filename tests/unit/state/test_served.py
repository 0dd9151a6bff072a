# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made for everybody to read can be read by everybody, whatever the umask is of who makes it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtfs.collection.record import approve
from gtfs.durable import make_for_all, replace_file
from gtfs.state import feeddir


@pytest.fixture(autouse=True)
def closed_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_directory_for_a_web_server_is_searched_by_it(tmp_path: Path) -> None:
    with feeddir._opened(tmp_path / "www") as place:
        feeddir._write(place / "index.html", b"x")
    assert mode(tmp_path / "www") == mode(tmp_path / "www" / "chunks") == 0o755
    assert mode(tmp_path / "www" / "index.html") == 0o644


def test_one_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    with feeddir._opened(tmp_path / "www"):
        assert mode(tmp_path / "www") == 0o700


def test_those_above_it_are_made_for_all_too(tmp_path: Path) -> None:
    make_for_all(tmp_path / "a" / "b")
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o755 and mode(tmp_path) == 0o700


def test_what_is_not_for_all_is_its_owners_alone(tmp_path: Path) -> None:
    replace_file(tmp_path / "own", b"x", 0o644)
    approve(tmp_path / "approved.json", ["a"])  # root's word, to a daemon that is another user's
    assert mode(tmp_path / "own") == 0o600 and mode(tmp_path / "approved.json") == 0o644
