# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that encode share one bound of memory."""

from __future__ import annotations

import os

import pytest

from gtfs.pack.limits import MIB
from gtfs.repo.processes import ALL_BYTES, cache_bytes, count_workers
from gtfs.repo.work import Work


@pytest.mark.parametrize("cores", [1, 2, 4, 7, 8, 64, 1024])
def test_as_many_as_there_are_cores_or_memory_for(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    workers = count_workers(Work())
    assert 1 <= workers <= cores
    assert workers == cores or cores > 6
    assert workers * (40 * MIB + 5 * cache_bytes(workers)) <= ALL_BYTES


def test_more_only_on_demand() -> None:
    assert count_workers(Work(jobs=64)) == 64
    assert cache_bytes(64) == 4 * MIB
    assert cache_bytes(1) == cache_bytes(2) == 16 * MIB
