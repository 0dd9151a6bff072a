# SPDX-License-Identifier: GPL-3.0-or-later
"""Indexes of packs, of both versions and hashes: what is in them is found, and damaged ones are no index."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from madeindexes import ids, index

from gtfs.ids import SHA1, SHA256, ObjectFormat, ObjectId
from gtfs.repo import packindex
from gtfs.repo.packindex import BadIndex, PackIndex


@pytest.mark.parametrize("small", [0, 1 << 20], ids=["mapped", "read"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("fmt", [SHA1, SHA256], ids=lambda f: f.name)
def test_all_of_an_index_is_found_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fmt: ObjectFormat, version: int, small: int
) -> None:
    monkeypatch.setattr(packindex, "_SMALL", small)
    ends = [ObjectId(bytes(fmt.oid_bytes)), ObjectId(b"\xff" * fmt.oid_bytes)]
    here = sorted([*ids(fmt, 0, 700), *ends])
    made = PackIndex(index(tmp_path / "a.idx", here, version), fmt)
    assert len(made) == len(here)
    assert all(oid in made for oid in here)
    assert not any(oid in made for oid in ids(fmt, 700, 700))
    made.close()


def test_an_index_of_nothing_has_nothing(tmp_path: Path) -> None:
    made = PackIndex(index(tmp_path / "a.idx", [], 2), SHA1)
    assert len(made) == 0
    assert ObjectId(hashlib.sha1(b"").digest()) not in made


@pytest.mark.parametrize("small", [0, 1 << 20], ids=["mapped", "read"])
@pytest.mark.parametrize("length", [1, 8, 500, 1032, 1032 + 20 * 99])
def test_an_index_that_is_cut_short_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, length: int
) -> None:
    monkeypatch.setattr(packindex, "_SMALL", small)
    path = index(tmp_path / "a.idx", ids(SHA1, 0, 100), 2)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BadIndex, match="index-pack"):
        PackIndex(path, SHA1)


def test_an_index_whose_counts_go_down_is_none(tmp_path: Path) -> None:
    path = index(tmp_path / "a.idx", ids(SHA1, 0, 100), 2)
    data = bytearray(path.read_bytes())
    data[8:12] = b"\0\0\xff\xff"
    path.write_bytes(data)
    with pytest.raises(BadIndex):
        PackIndex(path, SHA1)
