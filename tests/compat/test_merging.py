# SPDX-License-Identifier: GPL-3.0-or-later
"""Reels over time without network: many publishes leave few reels, a mirror makes the same from what it has, and a
crash between any two steps is made good."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from mirrored import Died, all_is_well, die_at, fetch, hold, listed, take_catalogue
from onefile import Publisher, SlowSwarm

from gtfs.catalogue.accept import FirstTrust
from gtfs.ids import SHA1
from gtfs.node.evictions import Evictions
from gtfs.node.follow import Follower
from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.node.reelfetches import ReelFetches
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.reel.index import ReelRow
from gtfs.reel.recover import Listed
from gtfs.reel.table import Footer, footer_range, parse_footer, table_range
from gtfs.repo.repository import Repository
from gtfs.repo.work import Work
from gtfs.state import feeddir, turnover
from gtfs.state import publish as publishing
from gtfs.state.feeddir import BadFeedDirectory, is_written, write_feed
from gtfs.state.foretell import foretell
from gtfs.state.fsck import rebuild
from gtfs.state.makereel import fill, make_whole
from gtfs.state.publish import publish_now
from gtfs.state.reelfiles import ReelFiles
from gtfs.state.rewind import go_back
from gtfs.state.state import State
from gtfs.state.unpublishable import Unpublishable
from gtfs.swarm.session import Session
from gtfs.view.news import News
from gtfs.view.writing import Writing


@pytest.fixture
def pub(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def test_a_mirror_that_follows_fetches_every_reel_once_and_makes_the_merged_ones(
    pub: Publisher, mirror: Repository
) -> None:
    with State(pub.repository) as origin, State(mirror) as state:
        fetched_rows = 0
        for n in range(1, 40):
            pub.publish(origin)
            assert origin.held is not None
            take_catalogue(state, origin.held)
            for name in fetch(state, origin):
                reel = state.index.reels.by_name(name)  # type: ignore[arg-type]
                assert reel is not None
                fetched_rows += reel.rows
            assert fetched_rows == n
            assert len(listed(origin)) <= 8
        assert len(listed(origin)) < 39
        for name in listed(origin):
            same = [s.layout.reel(name).read_bytes() for s in (origin, state)]  # type: ignore[arg-type]
            assert same[0] == same[1]
            torrents = [s.layout.metainfo(name).read_bytes() for s in (origin, state)]  # type: ignore[arg-type]
            assert torrents[0] == torrents[1]
        assert state.index.packs.count_by_stage() == {"unpacked": 39}
        for each in (origin, state):
            all_is_well(each)
            # What left is kept for the time of one catalogue, and no longer.
            files = {p.name.removesuffix(".reel") for p in each.layout.reels.glob("*.reel")}
            retired = {r.name for r in each.index.reels.all() if r.stage == "retired"}
            assert files == set(listed(each)) | retired
            assert len(retired) <= 8


@pytest.mark.trio
async def test_a_sync_reads_no_table_or_rows_of_reels_that_were_let_in_before(
    pub: Publisher, mirror: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State(pub.repository) as origin, State(mirror) as state:
        read: set[str] = set()
        table, rows = state.reel_files.table, state.index.packs.reel_rows
        async with open_node(state, NodeOptions(offline=True)) as node:
            for _ in range(12):  # with a merge among them
                before = set() if state.held is None else set(listed(state))
                pub.publish(origin)
                assert origin.held is not None
                take_catalogue(state, origin.held)
                fetch(state, origin)
                with monkeypatch.context() as patch:
                    patch.setattr(state.reel_files, "table", lambda reel: read.add(reel.name) or table(reel))
                    patch.setattr(
                        state.index.packs, "reel_rows", lambda reel_id: read.add(str(reel_id)) or rows(reel_id)
                    )
                    for _ in range(2):
                        read.clear()
                        report = await node.sync(lambda _p: None)
                        assert report.refs.held_back == {} and report.listed == len(listed(state))
                        assert read <= set(listed(state)) - before
                        before |= read
                    assert not read
        all_is_well(state)


def test_retired_reels_stay_for_one_catalogue_and_then_go(pub: Publisher) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 8)
        before = listed(state)
        assert len(before) == 8
        pub.publish(state)
        assert len(listed(state)) == 2
        retired = [row for row in state.index.reels.all() if row.stage == "retired"]
        assert {row.name for row in retired} == set(before)
        assert all(state.layout.reel(row.name).exists() for row in retired)
        assert not any(state.index.reels.holds(row.id) for row in retired)
        all_is_well(state)
    with State(pub.repository) as state:  # a start drops none of them
        assert sum(row.stage == "retired" for row in state.index.reels.all()) == 8
        pub.publish(state)
        assert [row for row in state.index.reels.all() if row.stage == "retired"] == []
        assert {p.suffix for p in state.layout.reels.iterdir()} == {".reel", ".torrent"}
        assert len(list(state.layout.reels.iterdir())) == 2 * len(listed(state)) == 6
        all_is_well(state)


def test_publishing_nothing_new_merges_nothing(pub: Publisher) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 8)
        before = listed(state)
        assert not publish_now(state).is_new
        assert listed(state) == before
        assert publish_now(state, force=True).is_new
        assert len(listed(state)) == 1


def test_a_mirror_that_missed_catalogues_makes_what_it_can(pub: Publisher, mirror: Repository) -> None:
    with State(pub.repository) as origin, State(mirror) as state:
        pub.publish(origin, 8)
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        assert len(fetch(state, origin)) == 8
        pub.publish(origin, 5)
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        # The merged one is made here; the five new ones come.
        assert len(fetch(state, origin)) == 5
        pub.publish(origin, 20)
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        fetch(state, origin)
        assert state.index.packs.count_by_stage() == {"unpacked": 33}
        all_is_well(state)


def test_a_lazy_mirror_makes_the_table_and_brings_the_packs_that_are_here(pub: Publisher, mirror: Repository) -> None:
    with State(pub.repository) as origin, State(mirror) as state:
        pub.publish(origin, 8)
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        for n, name in enumerate(listed(state)):
            reel, source = state.index.reels.by_name(name), origin.index.reels.by_name(name)  # type: ignore[arg-type]
            assert reel is not None and source is not None
            table = origin.reel_files.table(source)
            assert table is not None
            state.reel_files.keep_table(reel, table.packs, 0)
            if n % 2:  # here in part: its torrent would have the piece with the pack
                shutil.copy(origin.layout.reel(reel.name), state.layout.reels)
                state.index.reels.set_stage([reel.id], "partial")
        pub.publish(origin)
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        merged = state.index.reels.by_name(listed(state)[0])  # type: ignore[arg-type]
        assert merged is not None and merged.rows == 8 and merged.stage == "remote"
        assert len(state.index.packs.reel_rows(merged.id)) == 8
        whole, part = origin.layout.reel(merged.name).read_bytes(), state.layout.reel(merged.name).read_bytes()
        for n, row in enumerate(state.index.packs.reel_rows(merged.id)):
            assert row.offset is not None
            there = part[row.offset : row.offset + row.size] == whole[row.offset : row.offset + row.size]
            assert there == bool(n % 2)
        assert part[-100:] == whole[-100:]
        # Nothing points into the parts any more; they were no use to others.
        assert {row.name for row in state.index.reels.all()} == set(listed(state))
        assert sorted(p.name for p in state.layout.reels.glob("*.reel")) == [f"{merged.name}.reel"]


@pytest.mark.warns
def test_a_merged_reel_with_a_false_infohash_is_not_made(pub: Publisher, mirror: Repository) -> None:
    with State(pub.repository) as origin, State(mirror) as state:
        pub.publish(origin, 8)
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        fetch(state, origin)
        tables = [origin.reel_files.table(row) for row in origin.index.reels.all()]
        made = origin.reel_files.make([pack for table in tables if table for pack in table.packs])
        assert made is not None
        reel_id = state.index.reels.put(made.name, made.infohash[::-1], made.size, made.rows, 9, "remote")  # type: ignore[arg-type]
        reel = state.index.reels.get(reel_id)
        assert reel is not None
        packs = [pack for table in tables if table for pack in table.packs]
        assert state.reel_files.make_listed(reel, packs, 0) is False
        assert not state.layout.reel(made.name).exists()


STEPS: dict[str, tuple[object, str]] = {
    "the merged reel is written": (ReelFiles, "make"),
    "the catalogue is kept": (publishing, "keep"),
    "listed reels are known": (turnover, "_leaving"),
    "packs are moved": (turnover, "_empty"),
    "reels are retired": (State, "empty_open_reel"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_publisher_that_dies_goes_on_where_it_was(
    pub: Publisher, step: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 8)
    place, name = STEPS[step]
    die_at(monkeypatch, place, name, before)
    pub.commit()
    with pytest.raises(Died), State(pub.repository) as state:
        publish_now(state, Work(jobs=1))
    monkeypatch.undo()
    with State(pub.repository) as state:
        all_is_well(state)
        publish_now(state, Work(jobs=1))
        all_is_well(state)
        assert len(listed(state)) == 2
        assert state.held is not None
        assert [entry.rows for entry in state.held.catalogue.reels] == [8, 1]
        pub.publish(state, 2)
        all_is_well(state)
        assert sorted(p.stem for p in state.layout.reels.glob("*.reel")) == sorted(listed(state))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (turnover, "_leaving"),
        (ReelFiles, "make"),
        (ReelFiles, "make_listed"),
        (ReelFiles, "adopt"),
        (turnover, "_empty"),
    ],
)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_mirror_that_dies_goes_on_where_it_was(
    pub: Publisher, mirror: Repository, place: object, name: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State(pub.repository) as origin:
        pub.publish(origin, 8)
        with State(mirror) as state:
            take_catalogue(state, origin.held)  # type: ignore[arg-type]
            fetch(state, origin)
        pub.publish(origin)
        with pytest.raises(Died), State(mirror) as state:
            die_at(monkeypatch, place, name, before)
            take_catalogue(state, origin.held)  # type: ignore[arg-type]
        monkeypatch.undo()
        with State(mirror) as state:
            assert len(fetch(state, origin)) == 1
            all_is_well(state)
            assert state.index.packs.count_by_stage() == {"unpacked": 9}
            merged = state.index.reels.by_name(listed(state)[0])  # type: ignore[arg-type]
            assert merged is not None and merged.is_whole and len(state.index.packs.reel_rows(merged.id)) == 8


def test_a_table_that_comes_after_a_catalogue_without_its_reel_is_not_kept_and_nobody_misses_it(
    pub: Publisher, mirror: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State(pub.repository) as origin, State(mirror) as state:
        pub.publish(origin, 8)
        take_catalogue(state, origin.held)  # type: ignore[arg-type]

        async def late(_self: ReelFetches, row: ReelRow, _deadline_s: float) -> tuple[Footer, bytes]:
            """The table, once the next catalogue is held."""
            data = origin.layout.reel(row.name).read_bytes()
            at, length = footer_range(row.size)
            foot = parse_footer(data[at : at + length], SHA1)
            at, length = table_range(row.size, foot)
            if row.name in before:
                pub.publish(origin)
                before.clear()
                hold(state, origin.held)  # type: ignore[arg-type]
            return foot, data[at : at + length]

        before = set(listed(state)[:1])
        monkeypatch.setattr(ReelFetches, "fetch_table", late)
        writing, evictions = Writing(News(state.index)), Evictions(is_cache=False)
        reel_torrents = ReelTorrents(state, None, writing, evictions, NodeOptions(offline=True))
        follower = Follower(state, ReelFetches(state, reel_torrents, writing), writing, FirstTrust())
        assert trio.run(follower.bring_tables, 1.0) == {}
        state.drop_superseded(state.pop_superseded())
        assert {row.name for row in state.index.reels.all()} == set(listed(state))
        all_is_well(state)


def test_of_a_reel_that_is_listed_no_more_no_file_is_made(pub: Publisher) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 8)
        row = state.index.reels.all()[0]
        table = state.reel_files.table(row)
        assert table is not None
        while state.index.reels.by_name(row.name) is not None:
            pub.publish(state)
            state.drop_superseded(state.pop_superseded())
        assert fill(state, row, table, lambda: False) == 0
        assert not make_whole(state, row, table.packs)
        assert not state.layout.reel(row.name).exists()
        all_is_well(state)


def test_a_reel_that_is_superseded_while_the_swarm_takes_it_leaves_it_and_its_file_goes(
    pub: Publisher, mirror: Repository
) -> None:
    async def play(origin: State, state: State) -> None:
        swarm = SlowSwarm()
        writing, evictions = Writing(News(state.index)), Evictions(is_cache=False)
        reel_torrents = ReelTorrents(state, cast(Session, swarm), writing, evictions, NodeOptions())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reel_torrents.update)
            await swarm.asked.wait()
            pub.publish(origin, 9)
            hold(state, origin.held)  # type: ignore[arg-type]
            nursery.start_soon(reel_torrents.update)
        assert swarm.names == {f"{name}.reel" for name in listed(state)}
        assert {path.name for path in state.layout.reels.glob("*.reel")} == swarm.names
        assert {row.name for row in state.index.reels.all()} == set(listed(state))

    with State(pub.repository) as origin, State(mirror) as state:
        pub.publish(origin, 3)
        take_catalogue(state, origin.held)  # type: ignore[arg-type]
        trio.run(play, origin, state)


def test_a_reel_that_is_listed_again_while_the_swarm_lets_it_go_stays(pub: Publisher) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 8)
        first = state.held
        assert first is not None
        before = set(listed(state))
        pub.publish(state)
        pub.commit()
        publish_now(state, Work(jobs=1))
        superseded = state.pop_superseded()
        assert before == {row.name for row in superseded}
        state.held = first
        state.drop_superseded(superseded)
        assert listed(state) and before <= {row.name for row in state.index.reels.all()}
        assert all(state.layout.reel(name).exists() for name in listed(state))


def test_dropping_is_finished_by_the_next_start(pub: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 9)
        pub.commit()
        publish_now(state, Work(jobs=1))
        superseded = state.pop_superseded()
        assert len(superseded) == 8
        state.reel_files.remove(superseded[0].name)  # files first: this one's row is still there
    with State(pub.repository) as state:
        assert {row.name for row in state.index.reels.all()} == set(listed(state))
        all_is_well(state)


def test_a_reel_that_is_not_whole_at_its_publisher_stays_listed_unless_nothing_lies_there(pub: Publisher) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 4)
        names = listed(state)
        short = state.index.reels.by_name(names[1])  # type: ignore[arg-type]
        assert short is not None
        state.index.reels.set_stage([short.id], "partial")
        pub.publish(state, 6)  # else the first eight would be merged
        assert listed(state)[:4] == names
        assert state.held is not None and sum(reel.rows for reel in state.held.catalogue.reels) == pub.count
        state.index.reels.set_stage([short.id], "complete")
        pub.publish(state)
        assert names[1] not in listed(state) and state.held.catalogue.reels[0].rows == 8
        assert sum(reel.rows for reel in state.held.catalogue.reels) == pub.count
        first = state.index.reels.by_name(listed(state)[1])  # type: ignore[arg-type]
        assert first is not None
        state.index.reels.set_stage([first.id], "partial")
        state.index.packs.drop([row.oid for row in state.index.packs.reel_rows(first.id)])  # as after fsck --rebuild
        pub.publish(state)
        assert first.name not in listed(state)
        assert sum(reel.rows for reel in state.held.catalogue.reels) == pub.count


def test_a_reel_with_holes_is_not_served(pub: Publisher, tmp_path: Path) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 2)
        write_feed(state.layout, tmp_path / "www")
        before = {path.name: path.read_bytes() for path in (tmp_path / "www").iterdir() if path.is_file()}
        pub.commit(bulk=50_000)
        publish_now(state, Work(jobs=1))
        name = listed(state)[-1]
        reel = state.layout.reel(name)  # type: ignore[arg-type]
        whole = reel.read_bytes()
        with reel.open("r+b") as file:  # as it is fetched
            file.truncate(8192)
            file.truncate(len(whole))
        with pytest.raises(BadFeedDirectory, match="not whole"):
            write_feed(state.layout, tmp_path / "www")
        assert before == {path.name: path.read_bytes() for path in (tmp_path / "www").iterdir() if path.is_file()}
        reel.write_bytes(whole)
        write_feed(state.layout, tmp_path / "www")
        assert (tmp_path / "www" / f"{name}.reel").read_bytes() == whole


def test_what_is_small_in_a_feed_directory_is_made_good_where_the_disk_has_damaged_it(
    pub: Publisher, tmp_path: Path
) -> None:
    www = tmp_path / "www"
    with State(pub.repository) as state:
        state.config.set("catalogueformat", "2")
        pub.publish(state)
        write_feed(state.layout, www)
        before = {path: path.read_bytes() for path in www.rglob("*") if path.is_file()}
        assert {path.parent.name for path in before} == {"www", "chunks"}
        for path, data in before.items():
            if path.suffix != ".reel":  # it has the bytes of the state's, and is read by gtfs fsck there
                path.write_bytes(bytes(len(data)))
        write_feed(state.layout, www)
        assert {path: path.read_bytes() for path in www.rglob("*") if path.is_file()} == before


def test_a_reel_that_was_lost_and_is_sealed_again_is_whole(pub: Publisher) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 2)
        names = listed(state)
        lost = state.index.reels.by_name(names[1])  # type: ignore[arg-type]
        assert lost is not None
        state.index.reels.set_stage([lost.id], "remote")  # as in an index of the day before
        state.index.packs.drop([row.oid for row in state.index.packs.reel_rows(lost.id)])
        assert not publish_now(state, Work(jobs=1)).is_new
        pub.publish(state)
        assert listed(state)[:2] == names and len(listed(state)) == 3
        assert {row.stage for row in state.index.reels.all()} == {"complete"}
        all_is_well(state)


@pytest.mark.parametrize(("times", "back_to"), [(2, 1), (10, 8)], ids=["sealed", "merged"])
def test_what_was_published_by_catalogues_that_were_set_aside_is_published_again(
    pub: Publisher, mirror: Repository, times: int, back_to: int
) -> None:
    with State(pub.repository) as origin, State(mirror) as state:
        pub.publish(origin, times)
        go_back(origin, back_to)
        origin.drop_superseded(origin.pop_superseded())
        foretold = foretell(origin)["new_packs"]
        done = publish_now(origin, Work(jobs=1))
        assert foretold == done.new_packs == (1 if times == 2 else pub.count)
        assert foretell(origin)["new_packs"] == 0
        assert origin.held is not None and sum(reel.rows for reel in origin.held.catalogue.reels) == pub.count
        take_catalogue(state, origin.held)
        fetch(state, origin)
        assert state.index.packs.count_by_stage() == {"unpacked": pub.count}
        pub.publish(origin)
        assert sum(reel.rows for reel in origin.held.catalogue.reels) == pub.count
        for each in (origin, state):
            all_is_well(each)


@pytest.mark.warns
@pytest.mark.parametrize("how", ["spoilt", "short", "gone"])
def test_what_a_damaged_reel_of_a_catalogue_that_was_set_aside_cannot_give_is_encoded_again(
    pub: Publisher, mirror: Repository, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with State(pub.repository) as origin, State(mirror) as state:
        pub.publish(origin, 3)
        reel = origin.layout.reel(listed(origin)[-1])  # type: ignore[arg-type]
        go_back(origin, 1)
        if how == "gone":
            reel.unlink()
        else:
            whole = reel.read_bytes()
            reel.write_bytes(whole[:50] if how == "short" else whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
        publish_now(origin, Work(jobs=1))
        assert f"{reel}, of a catalogue that was set aside, is damaged; encoded again: 1 pack, that of" in caplog.text
        assert origin.held is not None and sum(row.rows for row in origin.held.catalogue.reels) == pub.count
        take_catalogue(state, origin.held)
        fetch(state, origin)
        assert state.index.packs.count_by_stage() == {"unpacked": pub.count}
        origin.drop_superseded(origin.pop_superseded())
        for each in (origin, state):
            all_is_well(each)
        assert not reel.exists()


@pytest.mark.warns
def test_what_neither_a_damaged_reel_nor_git_has_holds_back_the_refs_that_reach_it_and_says_so(pub: Publisher) -> None:
    with State(pub.repository) as origin:
        pub.publish(origin, 3)
        reel = origin.layout.reel(listed(origin)[-1])  # type: ignore[arg-type]
        go_back(origin, 1)
        reel.unlink()
        tree = pub.repository.git("rev-parse", "main^{tree}").decode().strip()
        lost = pub.repository.objects / tree[:2] / tree[2:]
        data = lost.read_bytes()
        lost.unlink()
        for _ in range(2):
            with pytest.raises(Unpublishable, match=f"nothing can be published: .*{tree}"):
                publish_now(origin, Work(jobs=1))
        lost.write_bytes(data)
        publish_now(origin, Work(jobs=1))
        assert origin.held is not None and sum(row.rows for row in origin.held.catalogue.reels) == pub.count
        origin.drop_superseded(origin.pop_superseded())
        all_is_well(origin)


def test_a_rebuilt_index_knows_what_is_retired(pub: Publisher) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 9)
        before = {row.name: row.stage for row in state.index.reels.all()}
        assert sorted(before.values()) == ["complete"] * 2 + ["retired"] * 8
        c = state.held.catalogue  # type: ignore[union-attr]
        known = {str(e.name): Listed(e.infohash, e.size, e.rows, c.version) for e in c.reels}
    assert rebuild(pub.repository, known, lambda _n: None).problems == ()
    with State(pub.repository) as state:
        assert {row.name: row.stage for row in state.index.reels.all()} == before
        assert not any(state.index.reels.holds(row.id) for row in state.index.reels.all() if row.stage == "retired")
        all_is_well(state)
        assert not publish_now(state).is_new


def test_a_stray_reel_whose_packs_are_elsewhere_is_swept(pub: Publisher) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 3)
        tables = [state.reel_files.table(row) for row in state.index.reels.all()]
        made = state.reel_files.make([pack for table in tables if table for pack in table.packs])
        assert made is not None and made.path.exists()
    with State(pub.repository) as state:
        assert not made.path.exists() and not made.metainfo_path.exists()
        all_is_well(state)


@pytest.mark.warns
def test_a_damaged_part_is_not_merged_and_publishing_goes_on(pub: Publisher) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 8)
        path = state.layout.reel(listed(state)[3])  # type: ignore[arg-type]
        data = bytearray(path.read_bytes())
        data[30] ^= 1
        path.write_bytes(data)
        pub.publish(state)
        assert len(listed(state)) == 9


def test_only_a_hundred_catalogues_are_kept_and_the_first_of_a_day(pub: Publisher) -> None:
    with State(pub.repository) as state:
        pub.publish(state, 2)
        template = state.held
        assert template is not None
        for version in range(1000, 1120):
            (state.catalogues.directory / f"{version}.asc").write_bytes(b"x")
        versions = state.catalogues.versions()
        assert len(versions) == 122
        for version in versions:
            os.utime(state.catalogues.directory / f"{version}.asc", (0, 0))  # not over midnight
        state.catalogues.save(template)
        assert state.catalogues.versions() == [1, *versions[-100:]]


def test_a_feed_directory_whose_reels_go_while_it_is_written_gets_what_is_published_by_then(
    pub: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = feeddir._put
    with State(pub.repository) as state:
        pub.publish(state, 8)

        def late(*given: Any) -> None:
            monkeypatch.setattr(feeddir, "_put", put)
            pub.publish(state, 2)  # the reels of the eight are merged, and then gone
            put(*given)

        monkeypatch.setattr(feeddir, "_put", late)
        write_feed(state.layout, tmp_path / "www")
        assert is_written(state.layout, tmp_path / "www")
        assert {f"{name}.reel" for name in listed(state)} <= {path.name for path in (tmp_path / "www").iterdir()}
        state.layout.reel(state.index.reels.all()[-1].name).unlink()
        (tmp_path / "www" / f"{state.index.reels.all()[-1].name}.reel").unlink()
        with pytest.raises(FileNotFoundError):
            write_feed(state.layout, tmp_path / "www")
