# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a reel is let in at once while it comes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from gtfs.ids import InfoHash, ReelName
from gtfs.ingest.outcome import Outcome
from gtfs.node.sync import _LAST_PART_BYTES, _PARTS, Round, SyncReport, WayIn, _part_bytes
from gtfs.reel.index import Index, ReelPack, ReelRow
from gtfs.view.news import Count


@pytest.mark.parametrize("size", [1 << 20, 70 << 20, 1 << 30])
def test_a_reel_is_let_in_in_few_parts_and_the_last_ones_are_small(size: int) -> None:
    parts = []
    here = 0
    while here < size:
        at = here
        while at < size and at - here < _part_bytes(size, size - at):
            at += 64 << 10
        parts.append(at - here)
        here = at
    assert len(parts) <= 3 * _PARTS
    assert parts[-1] <= _LAST_PART_BYTES


def test_of_a_reel_that_is_here_whole_nothing_is_let_in_as_it_comes() -> None:
    """Its packs may be a million, and each would be looked up."""
    done: list[str] = []
    row = ReelRow(1, ReelName("a" * 64), InfoHash(bytes(20)), 1 << 30, 1_000_000, 1, "complete")

    async def run(step: Callable[..., Any], *words: Any) -> Any:
        return step(*words)

    news = SimpleNamespace(reels=Count(), came_in=lambda: None, changed=lambda: None)
    torrents = SimpleNamespace(
        is_wanted=lambda _row: False,
        has_table=lambda _row: True,
        evictions=SimpleNamespace(unpin=lambda *_: None),
    )
    way_in = SimpleNamespace(
        fetches=SimpleNamespace(reel_torrents=torrents, first_bytes=lambda row: row.size, flush=run),
        writing=SimpleNamespace(news=news, run=run),
        let_in=lambda *_: done.append("whole") or Outcome(),
        let_in_part=lambda *_: done.append("part") or (Outcome(), 0),
        forget_others=lambda _listed: None,
    )
    report = SyncReport()
    trio.run(Round(cast(WayIn, way_in), [row], report, lambda _progress: None).run, 1.0)
    assert done == ["whole"] and report.listed == 1


def test_a_part_goes_on_with_what_has_come_meanwhile_and_ends_when_nothing_has(tmp_path):
    seen = []

    def run(candidates, **_more):
        seen.extend(candidate.offset for candidate in candidates)
        return Outcome()

    more = iter([120, 260, 260])
    with Index(tmp_path / "node.db") as index:
        reel_id = index.reels.put("1" * 64, b"1" * 20, 400, 6, 1, "partial")
        index.packs.put_reel_rows(reel_id, [ReelPack(bytes([n]) * 20, 50, bytes(32), 50 * n) for n in range(6)], 0)
        state = SimpleNamespace(index=index, layout=SimpleNamespace(reel=Path), ingest=lambda: SimpleNamespace(run=run))
        way_in = WayIn(state, None, None)
        _, end = way_in.let_in_part(index.reels.get(reel_id), 0, 60, lambda: next(more), lambda _count: None)
    assert seen == [0, 50, 100, 150, 200]
    assert end == 250
    assert not list(more)
