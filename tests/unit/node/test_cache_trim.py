# SPDX-License-Identifier: GPL-3.0-or-later
"""A cache that cannot make room now tries again: a full disk is when it matters."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from gtfs.node import cache
from gtfs.node.cache import Cache
from gtfs.node.saidonce import SaidOnce
from gtfs.swarm.pieces import SwarmError


class Trimmed(Exception):
    """It came so far."""


def trim_with(monkeypatch: pytest.MonkeyPatch, *ends: BaseException) -> None:
    """Each trim ends with one of these, the last with `Trimmed`."""
    left = [*ends, Trimmed()]

    async def trim(_self: Any, _more: int = 0) -> int:
        raise left.pop(0)

    monkeypatch.setattr(Cache, "trim", trim)
    one: Any = Cache.__new__(Cache)
    one._state = SimpleNamespace(repository=SimpleNamespace(path=Path("/m.git")))
    one._said = SaidOnce(cache.log)
    trio.run(one.trim_task, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.warns
def test_a_full_disk_ends_no_cache(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/m.git/gtfs/reels/x.resume")
    with pytest.raises(Trimmed):
        trim_with(monkeypatch, full, SwarmError("no answer"), full)
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert any("the cache of /m.git is not trimmed" in text and "No space left" in text for text in said)


@pytest.mark.warns
def test_a_file_system_without_holes_does(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    trim_with(monkeypatch, OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), "/m.git/gtfs/reels/x.reel"))
    assert "grows on" in caplog.text
