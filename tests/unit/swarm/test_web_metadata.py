# SPDX-License-Identifier: GPL-3.0-or-later
"""What a web server gives as metadata is looked at where nobody waits for it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from gtfs.swarm import webseeds
from gtfs.swarm.httpget import HttpAnswer


def test_what_takes_long_to_read_stops_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[int] = []

    def info_of(_document: bytes) -> bytes:
        where.append(threading.get_ident())
        return b"de"

    async def get(*_: Any, **__: Any) -> HttpAnswer:
        headers: Any = {}
        return HttpAnswer(200, "OK", headers, b"d4:infodee")

    monkeypatch.setattr(webseeds, "info_of", info_of)
    monkeypatch.setattr(webseeds, "get", get)
    torrent: Any = SimpleNamespace(spec=SimpleNamespace(infohash=bytes(20)))
    client: Any = None
    assert trio.run(webseeds._ask, client, "http://h/reel.torrent", torrent) is None
    assert where
    assert threading.get_ident() not in where
