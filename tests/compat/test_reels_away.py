# SPDX-License-Identifier: GPL-3.0-or-later
"""Reels that leave the swarm while somebody is at them: for a moment, to be mended, made or trimmed, or for good, as a
newer catalogue does not list them any more."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from mirrored import all_is_well, hold, listed, take_catalogue
from onefile import Publisher, SlowSwarm
from waiting import WAIT_S

from gtfs.catalogue.accept import FirstTrust
from gtfs.metainfo import BadMetainfo
from gtfs.node import nottaken, reelfetches, reeltorrents
from gtfs.node.evictions import Evictions
from gtfs.node.follow import Follower
from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.node.reelfetches import ReelFetches
from gtfs.node.reelspec import LeftCatalogue
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.node.sync import SyncReport
from gtfs.reel.index import ReelRow
from gtfs.reel.table import Row
from gtfs.repo.repository import Repository
from gtfs.state.state import State
from gtfs.swarm.pieces import SessionClosed
from gtfs.swarm.session import Session
from gtfs.swarm.spec import TorrentSpec
from gtfs.view.news import News
from gtfs.view.writing import Writing

REELS = 8  # the ninth publish merges them


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[State]:
    """A publisher's, of `REELS` reels."""
    pub = Publisher(tmp_path)
    with State(pub.repository) as state:
        pub.publish(state, REELS)
        yield state


def merge(origin: State) -> None:
    """One more publish, which lists one reel."""
    pub = Publisher.__new__(Publisher)
    pub.repository, pub.count = origin.repository, REELS
    pub.publish(origin)
    assert len(listed(origin)) < REELS


def packs_of(origin: State, row: ReelRow) -> Sequence[Row]:
    at_origin = origin.index.reels.by_name(row.name)
    table = None if at_origin is None else origin.reel_files.table(at_origin)
    assert table is not None
    return table.packs


class Given:
    """A torrent of a reel that somebody has: what is fetched of it is there at once, after what is to happen before."""

    def __init__(self, swarm: Swarm, spec: TorrentSpec, data: bytes, metainfo: bytes) -> None:
        self.spec = spec
        self.failure: SessionClosed | None = None
        self.questions = SimpleNamespace(flush=trio.lowlevel.checkpoint)
        self.board = SimpleNamespace(check=self._check)
        self._swarm, self._data, self._metainfo = swarm, data, metainfo

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def _happen(self, what: str) -> None:
        await trio.lowlevel.checkpoint()
        happens = self._swarm.happens.pop((what, self.spec.infohash), None)
        if happens is not None:
            await happens()
        self._check()

    def is_ready(self) -> bool:
        return True

    def first_bytes(self) -> int:
        return 0

    async def wait_metadata(self, _deadline_s: float) -> None:
        await self._happen("read")

    async def wait_last(self, _last_bytes: int) -> None:
        self._check()

    async def read(self, offset: int, length: int, **_more: object) -> bytes:
        self._check()
        return self._data[offset : offset + length]

    async def fetch_all(self, progress: Callable[[int, int], None], **_more: object) -> None:
        await self._happen("fetch")
        self.spec.path.write_bytes(self._data)
        self.spec.metainfo.write_bytes(self._metainfo)
        progress(len(self._data), self.spec.size)

    async def recheck(self) -> None:
        await self._happen("recheck")

    async def save_resume(self) -> None:
        await self._happen("end")


class Swarm:
    """A session in which somebody has all of what the publisher had when it began."""

    def __init__(self, origin: State) -> None:
        rows, layout = origin.index.reels.all(), origin.layout
        self._files = {
            row.infohash: (layout.reel(row.name).read_bytes(), layout.metainfo(row.name).read_bytes()) for row in rows
        }
        self.torrents: dict[bytes, Given] = {}
        self.happens: dict[tuple[str, bytes], Callable[[], Awaitable[object]]] = {}

    async def add(self, spec: TorrentSpec) -> Given:
        await trio.lowlevel.checkpoint()
        happens = self.happens.pop(("add", spec.infohash), None)
        if happens is not None:
            await happens()
        if spec.infohash not in self.torrents:
            self.torrents[spec.infohash] = Given(self, spec, *self._files.get(spec.infohash, (b"", b"")))
        return self.torrents[spec.infohash]

    def torrent(self, infohash: bytes) -> Given | None:
        return self.torrents.get(infohash)

    async def remove(self, infohash: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.torrents.pop(infohash).failure = SessionClosed("it was taken out of the swarm")


class Mirror:
    """One that has heard of the publisher's reels and has none of them."""

    def __init__(self, state: State, origin: State) -> None:
        self.state = state
        self.swarm = Swarm(origin)
        self.evictions = Evictions(is_cache=False)
        writing = Writing(News(state.index))
        session = cast(Session, self.swarm)
        self.reel_torrents = ReelTorrents(state, session, writing, self.evictions, NodeOptions())
        self.fetches = ReelFetches(state, self.reel_torrents, writing)
        self.follower = Follower(state, self.fetches, writing, FirstTrust())
        take_catalogue(state, origin.held)  # type: ignore[arg-type]

    def row(self, number: int) -> ReelRow:
        row = self.state.index.reels.by_name(listed(self.state)[number])  # type: ignore[arg-type]
        assert row is not None
        return row

    async def sync(self) -> SyncReport:
        return await self.follower.sync(lambda _progress: None)

    async def follow(self, origin: State) -> None:
        """Hear of what the publisher has published meanwhile."""
        self.swarm._files |= Swarm(origin)._files
        hold(self.state, origin.held)  # type: ignore[arg-type]
        await self.reel_torrents.update()

    async def trim(self, row: ReelRow) -> None:
        """As the cache does it, or the cache of another node of this process."""
        spec = self.swarm.torrents[row.infohash].spec
        with self.evictions.leaving(row.infohash):
            await self.swarm.remove(row.infohash)
            self.reel_torrents.replace(row, cast(Any, await self.swarm.add(spec)))


@pytest.fixture
def mirrored(mirror: Repository, origin: State) -> Iterator[Mirror]:
    with State(mirror) as state:
        yield Mirror(state, origin)
        all_is_well(state)


@pytest.mark.parametrize("what", ["read", "fetch"])
def test_a_reel_that_leaves_the_catalogue_while_it_is_fetched_ends_no_sync(
    mirrored: Mirror, origin: State, what: str
) -> None:
    row = mirrored.row(2)

    async def leave() -> None:
        merge(origin)
        await mirrored.follow(origin)
        assert row.infohash not in mirrored.swarm.torrents

    mirrored.swarm.happens[what, row.infohash] = leave
    report = trio.run(mirrored.sync)
    assert not mirrored.swarm.happens
    assert (report.missing, report.refs.held_back, report.refs.moved) == ({}, {}, 1)
    assert mirrored.state.held is not None and mirrored.state.held.catalogue.version == REELS + 1
    assert row.name not in {each.name for each in mirrored.state.index.reels.all()}


@pytest.mark.parametrize("what", ["read", "fetch"])
def test_a_reel_whose_size_the_catalogue_misstates_fails_alone_and_is_named(mirrored: Mirror, what: str) -> None:
    row = mirrored.row(2)

    async def refuse() -> None:
        raise BadMetainfo(f"{row.name}.reel: the .torrent says length 1, not 2")

    async def play() -> SyncReport:
        await mirrored.reel_torrents.update()
        if what == "read":
            mirrored.swarm.happens[what, row.infohash] = refuse
            assert list(await mirrored.follower.bring_tables(1.0)) == [row.name]
        mirrored.swarm.happens[what, row.infohash] = refuse
        return await mirrored.sync()

    report = trio.run(play)
    assert (list(report.missing), report.reels, report.refs.moved) == ([row.name], REELS - 1, 0)
    assert list(report.refs.held_back) == [b"refs/heads/main"]


@pytest.mark.parametrize("how", ["trimmed", "made", "taken out by another node"])
@pytest.mark.parametrize("what", ["read", "fetch", "end"])
def test_a_reel_that_leaves_the_swarm_for_a_moment_is_fetched_all_the_same(
    mirrored: Mirror, origin: State, what: str, how: str
) -> None:
    row = mirrored.row(2)

    async def leave() -> None:
        if how == "trimmed":
            await mirrored.trim(row)
        elif how == "made":  # as far as that goes: its packs are not here
            await mirrored.reel_torrents.make((row, packs_of(origin, row)))
        else:
            await mirrored.swarm.remove(row.infohash)

    mirrored.swarm.happens[what, row.infohash] = leave
    report = trio.run(mirrored.sync)
    assert not mirrored.swarm.happens
    assert (report.missing, report.reels, report.refs.moved) == ({}, REELS, 1)


def test_a_reel_that_is_out_of_the_swarm_as_its_fetch_begins_is_waited_for(mirrored: Mirror) -> None:
    row = mirrored.row(2)
    mirrored.swarm.happens["fetch", mirrored.row(0).infohash] = partial(mirrored.reel_torrents._leave, row)
    report = trio.run(mirrored.sync)
    assert (report.missing, report.reels, report.refs.moved) == ({}, REELS, 1)


def test_a_reel_that_leaves_the_swarm_while_git_gives_what_it_has_is_looked_at_when_it_is_back(
    mirrored: Mirror, origin: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed, gone = mirrored.row(1), mirrored.row(2)
    for row in map(mirrored.row, range(REELS)):
        mirrored.state.reel_files.keep_table(row, packs_of(origin, row), 0)
    looked: list[bytes] = []
    recheck = Given.recheck

    async def looks(torrent: Given) -> None:
        await recheck(torrent)
        looked.append(torrent.spec.infohash)

    async def leave() -> None:
        merge(origin)
        await mirrored.follow(origin)

    async def play() -> list[int]:
        await mirrored.reel_torrents.update()
        filled = [await mirrored.fetches.fill(trimmed)]
        await mirrored.follower._fill([gone])
        return filled

    monkeypatch.setattr(reelfetches, "fill", lambda *_: 5)
    monkeypatch.setattr(Given, "recheck", looks)
    mirrored.swarm.happens["recheck", trimmed.infohash] = partial(mirrored.trim, trimmed)
    mirrored.swarm.happens["recheck", gone.infohash] = leave
    assert trio.run(play) == [5]
    assert looked == [trimmed.infohash] and not mirrored.swarm.happens


async def join_elsewhere(mirrored: Mirror, row: ReelRow, other: Path) -> None:
    """Put its reels into the swarm, this one in the place of another node of this process."""
    spec = mirrored.reel_torrents.spec(row)
    await mirrored.swarm.add(dataclasses.replace(spec, directory=other, metainfo=other / "metainfo"))
    await mirrored.reel_torrents.update()


@pytest.mark.parametrize("way", ["update", "ask"])
def test_a_reel_that_came_in_by_whatever_way_is_known_as_another_nodes(
    mirrored: Mirror, tmp_path: Path, way: str
) -> None:
    row = mirrored.row(2)

    async def ask(torrent: Any) -> Any:
        return torrent

    async def play() -> None:
        spec = mirrored.reel_torrents.spec(row)
        there = await mirrored.swarm.add(dataclasses.replace(spec, directory=tmp_path))
        await (mirrored.reel_torrents.update() if way == "update" else mirrored.reel_torrents.ask(row, ask))
        assert mirrored.reel_torrents.lent._torrents == {there}
        # It is that one's to take out.
        await mirrored.reel_torrents._leave(row)
        assert mirrored.swarm.torrents[row.infohash] is there

    trio.run(play)


def test_a_reel_of_another_nodes_place_is_not_copied_once_the_catalogue_has_left_it_out(
    mirrored: Mirror, origin: State, tmp_path: Path
) -> None:
    row = mirrored.row(2)

    async def leave() -> None:
        merge(origin)
        await mirrored.follow(origin)

    async def play() -> None:
        await join_elsewhere(mirrored, row, tmp_path)
        mirrored.swarm.happens["end", row.infohash] = leave
        with pytest.raises(LeftCatalogue):
            await mirrored.fetches.fetch(row, lambda *_: None, lambda: None, 1.0)

    trio.run(play)
    assert not mirrored.state.layout.reel(row.name).exists()


def test_a_reel_that_another_node_deletes_before_it_is_copied_is_fetched_to_its_own_place(
    mirrored: Mirror, tmp_path: Path
) -> None:
    row = mirrored.row(2)

    async def vanish() -> None:
        torrent = mirrored.swarm.torrents.pop(row.infohash)

        def check() -> None:
            torrent.failure = SessionClosed("it was taken out of the swarm")
            raise torrent.failure

        torrent.board.check = check
        torrent.spec.path.unlink()

    async def play() -> None:
        await join_elsewhere(mirrored, row, tmp_path)
        mirrored.swarm.happens["end", row.infohash] = vanish
        await mirrored.fetches.fetch(row, lambda *_: None, lambda: None, 1.0)

    trio.run(play)
    assert mirrored.state.layout.reel(row.name).exists() and mirrored.row(2).is_whole


@pytest.mark.warns
@pytest.mark.parametrize("way", ["mend", "make", "encode", "encode_again"])
def test_a_reel_that_was_taken_out_is_back_though_who_asked_for_it_has_hung_up(
    origin: State, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    row = origin.index.reels.all()[2]
    packs = packs_of(origin, row)
    origin.reel_files.keep_table(row, packs, 0)
    asked = trio.CancelScope()

    def hang_up(*_given: object) -> bool:
        trio.from_thread.run_sync(asked.cancel)
        return True

    async def play() -> None:
        swarm, writing = SlowSwarm(), Writing(News(origin.index))
        session = cast(Session, swarm)
        reel_torrents = ReelTorrents(origin, session, writing, Evictions(is_cache=False), NodeOptions())
        ways: dict[str, Callable[[], Awaitable[object]]] = {
            "mend": reel_torrents.mend,
            "make": lambda: reel_torrents.make((row, packs)),
            "encode": reel_torrents.encode,
            "encode_again": lambda: reel_torrents.encode_again(origin.index.reels.all()[2]),
        }
        if way == "mend":
            origin.layout.metainfo(row.name).unlink()
        elif way != "make":
            origin.index.reels.set_stage([row.id], "partial")
        await reel_torrents.update()
        assert len(swarm.names) == REELS
        for name in ("remake", "make_whole"):
            monkeypatch.setattr(reeltorrents, name, hang_up)
        monkeypatch.setattr(reeltorrents.Remaking, "place", hang_up)
        with asked:
            await ways[way]()
        assert len(swarm.names) == REELS
        torrent = reel_torrents.reel(row.id)
        assert torrent is not None and torrent.failure is None

    trio.run(play)


@pytest.mark.trio
@pytest.mark.warns
async def test_a_reel_that_was_taken_out_is_back_though_the_disk_fails_what_comes_before_it(
    mirrored: Mirror, origin: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    row, reel_torrents = mirrored.row(2), mirrored.reel_torrents
    await reel_torrents.update()
    with monkeypatch.context() as patch:
        patch.setattr(mirrored.state, "pop_superseded", fail)
        with pytest.raises(OSError, match="Input/output"):
            await reel_torrents.make((row, packs_of(origin, row)))
    assert row.infohash not in mirrored.swarm.torrents
    monkeypatch.setattr(nottaken, "REST_S", 0)
    is_back = trio.Event()

    async def note() -> None:
        is_back.set()

    mirrored.swarm.happens["add", row.infohash] = note
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reel_torrents.run_task)
        with trio.fail_after(WAIT_S):
            await is_back.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.warns
async def test_a_disk_that_fails_one_reel_keeps_neither_another_out_of_the_swarm_nor_a_sync_from_its_end(
    mirrored: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    row, error = mirrored.row(0), OSError(errno.EACCES, os.strerror(errno.EACCES))

    async def fail() -> None:
        mirrored.swarm.happens["add", row.infohash] = fail
        raise error

    await mirrored.sync()
    for each in mirrored.state.index.reels.all():
        await mirrored.reel_torrents._leave(each)
    mirrored.swarm.happens["add", row.infohash] = fail
    assert (await mirrored.sync()).missing == {}
    assert len(mirrored.reel_torrents.torrents()) == len(mirrored.state.index.reels.all()) - 1
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        f"reel {row.name} is not in the swarm yet: {error}"
    ]
    del mirrored.swarm.happens["add", row.infohash]
    await mirrored.reel_torrents.update()
    assert len(mirrored.reel_torrents.torrents()) == len(mirrored.state.index.reels.all())


@pytest.mark.trio
@pytest.mark.warns
async def test_a_disk_that_fails_a_reel_as_a_node_begins_is_tried_again(
    mirror: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_self: ReelTorrents) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with State(mirror) as state, monkeypatch.context() as patch:
        patch.setattr(ReelTorrents, "update", fail)
        async with open_node(state, NodeOptions(offline=True)) as node, trio.open_nursery() as nursery:
            assert node.news.wanted.number
            await nursery.start(node.run_task)  # though the disk fails still
            nursery.cancel_scope.cancel()
