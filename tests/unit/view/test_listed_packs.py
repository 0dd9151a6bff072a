# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from tempfile import SpooledTemporaryFile
from types import SimpleNamespace

import pytest
import trio

from gtfs.mount.tree import NotLocal
from gtfs.reel.index import Index, LocalPack, ReelPack
from gtfs.view.news import News
from gtfs.view.packs import Packs


class Swarm:
    """Has the first half of each reel of 100 bytes."""

    is_cache = False

    def reel(self, reel_id):
        return self

    def local_bytes(self, offset=0, length=None):
        return max(0, min(50, offset + length) - offset)


@pytest.fixture
def index(tmp_path):
    with Index(tmp_path / "node.db") as index:
        yield index


def oid(number):
    return bytes([number]) * 20


def test_a_listing_says_of_each_pack_what_stat_says(index):
    partial = index.reels.put("1" * 64, b"1" * 20, 100, 3, 1, "partial")
    whole = index.reels.put("2" * 64, b"2" * 20, 100, 1, 1, "complete")
    index.packs.put_reel_rows(partial, [ReelPack(oid(n), 30, oid(n)[:1] * 32, 30 * n) for n in range(3)], 5)
    index.packs.put_reel_rows(whole, [ReelPack(oid(3), 30, b"3" * 32, 0)], 5)
    index.packs.put_local([LocalPack(oid(4), 1, 7, 40, b"4" * 32, 0, (), "verified")])
    index.packs.put_local([LocalPack(oid(5), 1, 7, 40, b"5" * 32, None, (), "waiting")])
    index.packs.set_stage([oid(0)], "unpacked")

    async def look():
        packs = Packs(SimpleNamespace(index=index), Swarm(), News(index))
        listed = [pack for after in (0, 3) for pack in packs.rows(after, 3)]
        by_row = [packs.info_by_row(row) for row in range(1, 20)]  # their numbers may have gaps
        assert listed == [tuple(found) for found in by_row if found is not None]
        assert [here for *_, here in listed] == [30, 20, 0, 30, 40]

    trio.run(look)


class Leaving(Swarm):
    """Had all of it until somebody began to read."""

    is_cache = True

    def local_bytes(self, offset=0, length=None):
        return length

    async def read_here(self, reel, offset, length):
        return None

    async def read(self, reel, offset, length, read_ahead):
        raise AssertionError("nobody else has it, and git does")


def test_what_leaves_the_cache_while_it_is_read_comes_from_git(index, monkeypatch):
    partial = index.reels.put("1" * 64, b"1" * 20, 100, 1, 1, "partial")
    index.packs.put_reel_rows(partial, [ReelPack(oid(0), 30, b"0" * 32, 0)], 5)
    index.packs.set_stage([oid(0)], "unpacked")
    packs = Packs(SimpleNamespace(index=index), Leaving(), News(index))
    with SpooledTemporaryFile() as made:
        made.write(bytes(range(30)))
        monkeypatch.setattr(packs, "_make", lambda row: made)
        assert trio.run(packs.read, oid(0), 10, 5) == bytes(range(10, 15))


def test_who_waits_for_nothing_gets_nothing_of_what_a_cache_has_let_go_of(index):
    partial = index.reels.put("1" * 64, b"1" * 20, 100, 1, 1, "partial")
    index.packs.put_reel_rows(partial, [ReelPack(oid(0), 30, b"0" * 32, 0)], 5)

    async def look():
        packs = Packs(SimpleNamespace(index=index), Leaving(), News(index))
        with pytest.raises(NotLocal):
            await packs.read(oid(0), 10, 5, waits=False)

    trio.run(look)
