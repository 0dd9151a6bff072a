# SPDX-License-Identifier: GPL-3.0-or-later
"""A cache that lets go of pieces of a reel in the swarm, on a disk that may be full."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from loopback import PIECE, content, make_reel, pair
from waiting import WAIT_S

from gtfs.ids import ReelName
from gtfs.node.cache import Cache
from gtfs.node.evictions import Evictions
from gtfs.reel.index import ReelRow
from gtfs.swarm import eviction
from gtfs.swarm.torrents import Torrent
from gtfs.view.news import Count

pytestmark = pytest.mark.trio

DATA = content(20 * PIECE)


class OneReel:
    """What a cache asks of a node that has one reel."""

    def __init__(self, row: ReelRow, torrent: Torrent) -> None:
        self.rows = {row.id: row}
        self.torrent = torrent
        self.evictions = Evictions(is_cache=True)
        self.index = SimpleNamespace(reels=SimpleNamespace(all=lambda: list(self.rows.values()), set_stage=self._stage))
        self.config = SimpleNamespace(sign_key=lambda: None)
        self.repository = SimpleNamespace(path="/m.git")
        self.reel_files = SimpleNamespace(
            layout=SimpleNamespace(table=lambda _name: torrent.spec.metainfo), table=lambda _row: None
        )

    def _stage(self, ids: list[int], stage: Any) -> None:
        self.rows |= {id_: self.rows[id_]._replace(stage=stage) for id_ in ids}

    def torrents(self) -> list[Torrent]:
        return [self.torrent]

    def reel(self, _reel_id: int) -> Torrent:
        return self.torrent

    def replace(self, _row: ReelRow, torrent: Torrent) -> None:
        self.torrent = torrent

    def is_own(self, _torrent: Torrent) -> bool:
        return True

    def is_let_in(self, _row: ReelRow) -> bool:
        return True


async def test_what_could_not_be_let_go_of_is_the_next_time(tmp_path, monkeypatch):
    reel = make_reel(tmp_path / "publisher", DATA)
    forget = eviction._forget

    async def yes(_row: ReelRow) -> bool:
        return True

    def full(spec: Any, _pieces: Any) -> None:
        monkeypatch.setattr(eviction, "_forget", forget)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(spec.resume))

    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        await torrent.fetch_all(stall_s=WAIT_S)
        row = ReelRow(1, ReelName("a" * 64), reel.infohash, reel.size, 1, 1, "complete")
        node: Any = OneReel(row, torrent)
        one_writer = SimpleNamespace(turn=trio.Lock, news=SimpleNamespace(reels=Count()))
        cache = Cache(node, node, mirror, cast(Any, one_writer), len(DATA) // 2)
        monkeypatch.setattr(cache, "_may_shed", yes)
        monkeypatch.setattr(eviction, "_forget", full)
        with pytest.raises(OSError, match="No space left"):
            await cache.trim()
        assert torrent.failure is not None
        await node.torrent.wait_metadata(WAIT_S)
        assert await cache.trim() >= len(DATA) // 2
        await node.torrent.wait_metadata(WAIT_S)
        assert cache.local_bytes() <= len(DATA) // 2
        assert await node.torrent.read(0, len(DATA), deadline_s=WAIT_S) == DATA
