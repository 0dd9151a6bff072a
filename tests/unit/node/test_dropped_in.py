# SPDX-License-Identifier: GPL-3.0-or-later
"""What is copied into a mount is looked at where nobody waits for it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio

from gtfs.metainfo import BadMetainfo
from gtfs.mount.tree import NotTakeable
from gtfs.node import droppedin


def test_what_takes_long_to_read_stops_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[int] = []

    def info_of(_document: bytes) -> bytes:
        where.append(threading.get_ident())
        raise BadMetainfo("no torrent")

    monkeypatch.setattr(droppedin, "info_of", info_of)
    nothing: Any = None
    with pytest.raises(NotTakeable):
        trio.run(droppedin.take_copied, nothing, nothing, nothing, nothing, b"d4:infodee")
    assert where
    assert threading.get_ident() not in where
