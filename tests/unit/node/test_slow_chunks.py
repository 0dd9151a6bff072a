# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gives a catalogue's chunks one by one keeps nobody else from giving them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from waiting import WAIT_S

from gtfs.catalogue.refchunks import ChunksMissing, missing_chunks
from gtfs.catalogue.reftree import plant
from gtfs.feed import parse_feed
from gtfs.ids import ObjectId
from gtfs.node import chunks
from gtfs.node.chunks import ChunkFetcher, ChunksInMemory
from gtfs.swarm.feeds import FeedError, patience_s
from gtfs.swarm.pieces import SwarmTimeout

SLOW, GOOD = parse_feed("http://slow.example/latest.asc"), parse_feed("http://good.example/latest.asc")
TREE = plant({b"refs/heads/a": ObjectId(b"a" * 20)})
TOP = TREE.to_top(with_torrent=True)


class Givers:
    """A web server that gives chunks, one that never gives the last byte, and peers of that kind."""

    async def fetch_chunk(self, feed: Any, digest: str, *_more: object) -> bytes:
        if feed is SLOW:
            await trio.sleep_forever()
        return TREE.data[digest]

    async def add(self, _spec: object) -> Any:
        return self

    async def read(self, *_given: object, **_more: object) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    def torrent(self, _infohash: object) -> None:
        return None


def first_for_a_moment() -> Callable[[float], trio.CancelScope]:
    """trio's `move_on_after`, the first time for a moment, and then for as long as a test waits."""
    times, move_on_after = itertools.chain([0.01], itertools.repeat(WAIT_S)), trio.move_on_after
    return lambda _seconds: move_on_after(next(times))


@pytest.mark.trio
async def test_who_trickles_chunks_is_left_for_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    givers: Any = Givers()
    client: Any = None
    kept, wanted = ChunksInMemory(), ChunksMissing(TOP.top, TOP)
    monkeypatch.setattr(chunks, "fetch_chunk", givers.fetch_chunk)
    monkeypatch.setattr(chunks, "patience_s", lambda size: 0.01 if size == TOP.size else WAIT_S)
    with trio.fail_after(WAIT_S):
        with pytest.raises(SwarmTimeout, match="from peers within"):
            await ChunkFetcher(kept, client, givers, tmp_path).bring(wanted, [SLOW])
        fetcher = ChunkFetcher(kept, client, None, tmp_path)
        with pytest.raises(FeedError, match=r"slow\.example.*did not all come within"):
            await fetcher.bring(wanted, [SLOW])
        monkeypatch.setattr(trio, "move_on_after", first_for_a_moment())
        await fetcher.bring(wanted, [SLOW, GOOD])
    assert missing_chunks(TOP, kept.get) == []


def test_a_line_of_half_a_megabit_is_quick_enough() -> None:
    assert patience_s(64 << 20) * (60 << 10) < 64 << 20 and patience_s(0) == 60
