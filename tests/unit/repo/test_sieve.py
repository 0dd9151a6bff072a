# SPDX-License-Identifier: GPL-3.0-or-later
"""A sieve over pack indexes never denies what an index has, and denies nearly everything else."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from madeindexes import ids, index

from gtfs.ids import SHA1, SHA256, ObjectFormat, ObjectId
from gtfs.repo import sieve
from gtfs.repo.sieve import Sieve


@pytest.mark.parametrize(("fmt", "version"), [(SHA1, 1), (SHA1, 2), (SHA256, 2)])
def test_all_of_an_index_may_be_there_and_little_else(tmp_path: Path, fmt: ObjectFormat, version: int) -> None:
    made = Sieve(2000)
    assert not any(made.may_have(oid) for oid in ids(fmt, 0, 1000))
    assert made.add(index(tmp_path / "a.idx", ids(fmt, 0, 1000), version), fmt)
    assert made.add(index(tmp_path / "b.idx", ids(fmt, 1000, 1000), version), fmt)
    assert made.objects == 2000
    assert all(made.may_have(oid) for oid in ids(fmt, 0, 2000))
    assert sum(made.may_have(oid) for oid in ids(fmt, 2000, 10_000)) < 1000


def test_one_that_holds_more_than_it_has_room_for_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieve, "_LEAST", 64)
    made = Sieve(64)
    assert made.add(index(tmp_path / "a.idx", ids(SHA1, 0, 100)), SHA1)
    assert not made.is_full
    assert made.add(index(tmp_path / "b.idx", ids(SHA1, 100, 100)), SHA1)
    assert made.is_full
    assert all(made.may_have(oid) for oid in ids(SHA1, 0, 200))


def test_the_largest_is_never_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieve, "_LEAST", 64)
    monkeypatch.setattr(sieve, "_MOST_BITS", 64 * 16)
    made = Sieve(1000)
    assert made.add(index(tmp_path / "a.idx", ids(SHA1, 0, 2000)), SHA1)
    assert not made.is_full
    assert all(made.may_have(oid) for oid in ids(SHA1, 0, 2000))


def test_the_first_and_the_last_id_have_bits_of_their_own(tmp_path: Path) -> None:
    ends = [ObjectId(bytes(20)), ObjectId(b"\xff" * 20)]
    made = Sieve(0)
    assert made.add(index(tmp_path / "a.idx", ends), SHA1)
    assert all(made.may_have(oid) for oid in ends)
    assert not made.may_have(ObjectId(hashlib.sha1(b"", usedforsecurity=False).digest()))


def test_one_for_few_objects_takes_little_memory() -> None:
    assert sys.getsizeof(Sieve(0)._table) < 4096


@pytest.mark.parametrize("left", [20, 1031, 1032 + 19])
def test_an_index_that_is_cut_off_adds_nothing(tmp_path: Path, left: int) -> None:
    path = index(tmp_path / "a.idx", ids(SHA1, 0, 100))
    path.write_bytes(path.read_bytes()[:left])
    made = Sieve(0)
    assert not made.add(path, SHA1)
    assert not made.objects
