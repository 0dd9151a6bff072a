# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks for one pack of a new mirror waits for that pack, and not for all that its reel's table lists."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from gtfs.ids import SHA1, InfoHash, ObjectId, PackDigest
from gtfs.layout import Layout
from gtfs.reel.index import Index
from gtfs.reel.table import Row, encode_table, reel_name, reel_size
from gtfs.state import reelfiles
from gtfs.state.reelfiles import ReelFiles
from gtfs.view.news import News
from gtfs.view.packs import Packs

ROWS = [Row(ObjectId(bytes([n]) * 20), 50, PackDigest(bytes([n]) * 32)) for n in range(1, 10)]
SOMEBODY_ELSE_S = ObjectId(b"x" * 20)


@pytest.fixture
def files(tmp_path: Path):
    layout = Layout(tmp_path)
    layout.reels.mkdir(parents=True)
    with Index(tmp_path / "node.db") as index:
        yield ReelFiles(index, layout, SHA1)


def reel_of(files: ReelFiles):
    name = reel_name(encode_table(ROWS, SHA1))
    files.index.reels.put(name, InfoHash(bytes(20)), reel_size(ROWS, SHA1), len(ROWS), 1, "remote")
    return files.index.reels.by_name(name)


def test_what_is_asked_for_is_in_the_index_first_and_then_all_is(files, monkeypatch):
    monkeypatch.setattr(reelfiles, "_PUT_AT_ONCE", 2)
    reel = reel_of(files)
    asked = {ROWS[7].oid, SOMEBODY_ELSE_S}
    told: list[ObjectId] = []

    def known(oids):
        told.extend(oids)
        asked.difference_update(oids)
        assert files.index.packs.known(row.oid for row in ROWS) >= set(oids)
        if oids == [ROWS[7].oid]:
            assert files.index.packs.count() == 1
            assert not files.has_table(reel)
            asked.add(ROWS[5].oid)

    counts: list[int] = []
    lookers = SimpleNamespace(
        oids=lambda: frozenset(asked), tell_known=known, tell_more=lambda: counts.append(files.index.packs.count())
    )
    files.keep_table(reel, ROWS, 0, lookers)
    assert told == [ROWS[7].oid, ROWS[5].oid]
    assert counts[0] < counts[1] and counts[-1] == len(ROWS)
    assert files.has_table(reel)
    found = files.index.packs.reel_rows(reel.id)
    assert [(row.oid, row.offset, row.digest) for row in found] == [
        (row.oid, 50 * n, row.digest) for n, row in enumerate(ROWS)
    ]


def test_a_crash_between_two_parts_of_a_table_leaves_it_to_be_put_again(files, monkeypatch):
    monkeypatch.setattr(reelfiles, "_PUT_AT_ONCE", 2)
    reel = reel_of(files)

    def crash():
        if files.index.packs.count() == 4:
            raise OSError("the power went")
        return frozenset()

    with pytest.raises(OSError, match="power"):
        files.keep_table(reel, ROWS, 0, SimpleNamespace(oids=crash, tell_more=lambda: None))
    assert not files.has_table(reel)
    files.keep_table(reel, ROWS, 0)
    assert files.has_table(reel)
    assert [row.oid for row in files.index.packs.reel_rows(reel.id)] == [row.oid for row in ROWS]


def test_who_waits_for_a_pack_goes_on_once_it_is_known_or_all_are(files):
    async def main():
        news = News(files.index)
        packs = Packs(SimpleNamespace(index=files.index), None, news)
        went_on = []

        async def wait(oid):
            await packs.wait_known(oid)
            went_on.append(oid)

        async with trio.open_nursery() as nursery:
            for oid in (ROWS[0].oid, ROWS[0].oid, SOMEBODY_ELSE_S):
                nursery.start_soon(wait, oid)
            await trio.testing.wait_all_tasks_blocked()
            assert news.asked.oids() == {ROWS[0].oid, SOMEBODY_ELSE_S}
            news.asked.known([ROWS[0].oid])
            await trio.testing.wait_all_tasks_blocked()
            assert went_on == [ROWS[0].oid] * 2
            packs.now_listed()
        await wait(ROWS[1].oid)
        assert went_on[2:] == [SOMEBODY_ELSE_S, ROWS[1].oid]

    trio.run(main)


def test_a_listing_goes_on_when_there_are_rows_beyond_it_or_all_are_known(files):
    async def main():
        news = News(files.index)
        packs = Packs(SimpleNamespace(index=files.index), None, news)
        went_on = []

        async def wait(row):
            await packs.wait_beyond(row)
            went_on.append(row)

        async def look():
            await packs.wait_listable()
            went_on.append("listable")

        async with trio.open_nursery() as nursery:
            for row in (0, 1, 1000):
                nursery.start_soon(wait, row)
            nursery.start_soon(look)
            await trio.testing.wait_all_tasks_blocked()
            assert not went_on
            news.asked.more()
            await trio.testing.wait_all_tasks_blocked()
            assert not went_on, "nothing has come"
            await trio.to_thread.run_sync(lambda: files.keep_table(reel_of(files), ROWS, 0, news.asked))
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(went_on) == [0, 1]
            news.asked.tables_here()
            await trio.testing.wait_all_tasks_blocked()
            assert went_on[2:] == ["listable"]
            packs.now_listed()
        assert went_on[3:] == [1000]

    trio.run(main)
