# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from gtfs.ids import ObjectId
from gtfs.reel.index import Index, LocalPack
from gtfs.view.news import Count, News

A, B = (ObjectId(bytes([n]) * 20) for n in (1, 2))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    index = Index(tmp_path / "node.db")
    yield index
    index.close()


@pytest.mark.trio
async def test_a_reader_misses_no_change_however_late_it_comes() -> None:
    count, read = Count(), []

    async def reader() -> None:
        seen = 0
        while True:
            seen = await count.wait_beyond(seen)
            read.append(seen)

    async with trio.open_nursery() as nursery:
        count.grow()
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        count.grow()
        count.grow()
        await trio.testing.wait_all_tasks_blocked()
        assert read == [1, 3]
        nursery.cancel_scope.cancel()


def test_the_tree_changes_only_with_the_rows_of_the_index(index: Index) -> None:
    news = News(index)
    news.changed()
    assert (news.tree.number, news.git.number, news.reels.number, news.unpacked.number) == (0, 1, 1, 0)
    with index.transaction():
        index.packs.put_local([LocalPack(A, 1, 0, 5, b"d" * 32, 0, (), "unpacked")])
    news.came_in()
    assert (news.tree.number, news.git.number, news.unpacked.number) == (1, 2, 1)
    news.changed()
    assert news.tree.number == 1


def test_written_packs_are_told_to_each_reader_once(index: Index) -> None:
    news = News(index)
    news.came_in([A])
    early = news.tree.number
    news.came_in([B])
    assert news.tree.since(0) == [A, B] and news.tree.since(early) == [B] and news.tree.since(news.tree.number) == []
