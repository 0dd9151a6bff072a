# SPDX-License-Identifier: GPL-3.0-or-later
"""A catalogue is durable, and what follows from it fails: the same process makes it good the next time."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from keys import shared_keys
from mirrored import all_is_well, fetch, hold, listed, take_catalogue
from onefile import Publisher, SlowSwarm

from gtfs.catalogue import statementstore
from gtfs.catalogue.accept import FirstTrust
from gtfs.catalogue.document import digest
from gtfs.catalogue.race import Race
from gtfs.durable import replace_file
from gtfs.ingest.gate import PolicyGate
from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.node.sync import FOLLOWED
from gtfs.reel.index import ReelRow
from gtfs.reel.ledger import HeldRefs
from gtfs.repo.repository import Repository
from gtfs.repo.work import Work
from gtfs.state import state as states
from gtfs.state.publish import Draft, draft, place, publish_now
from gtfs.state.rewind import go_back
from gtfs.state.state import State
from gtfs.state.takecatalogue import take_catalogue as take_document
from gtfs.swarm.session import Session
from gtfs.trust.gpgv import GpgvFailed
from gtfs.trust.sign import Signer

FULL = OSError(errno.ENOSPC, "No space left on device")
MAIN = b"refs/heads/main"


@pytest.fixture
def pub(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


@pytest.fixture
def origin(pub: Publisher) -> Iterator[State]:
    with State(pub.repository) as state:
        pub.publish(state)
        yield state
        all_is_well(state)


@pytest.fixture
def state(mirror: Repository, origin: State) -> Iterator[State]:
    """A mirror that has all of it."""
    with State(mirror) as state:
        assert origin.held is not None
        take_catalogue(state, origin.held)
        fetch(state, origin)
        yield state


def fail_following(patch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> list[ReelRow]:
        raise FULL

    patch.setattr(states, "follow_catalogue", fail)


def fail_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """The index cannot keep what follows, which is rolled back."""

    def fail(*_args: object) -> None:
        raise FULL

    patch.setattr(HeldRefs, "set_held", fail)


def fail_copying(patch: pytest.MonkeyPatch) -> None:
    """The catalogue is kept, its copy for others is not."""

    def replace(path: Path, data: bytes) -> None:
        if path.name == "latest.asc":
            raise FULL
        replace_file(path, data)

    patch.setattr(statementstore, "replace_file", replace)


Fail = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("fail", [fail_following, fail_at_the_end, fail_copying])
@pytest.mark.parametrize("moves", [False, True], ids=["nothing-new", "more"])
def test_a_publish_that_failed_once_its_catalogue_was_kept_is_finished_by_the_next(
    pub: Publisher, origin: State, monkeypatch: pytest.MonkeyPatch, fail: Fail, moves: bool
) -> None:
    pub.publish(origin, 7)  # the next one merges
    pub.commit()
    with monkeypatch.context() as patch:
        fail(patch)
        with pytest.raises(OSError, match="No space left"):
            publish_now(origin, Work(jobs=1))
        with pytest.raises(OSError, match="No space left"):  # as long as the disk is full
            publish_now(origin, Work(jobs=1))
    if moves:
        pub.commit()
    done = publish_now(origin, Work(jobs=1))
    assert (done.version, done.is_new) == (10 if moves else 9, moves)
    assert origin.held is not None and origin.held.catalogue.version == done.version
    assert origin.catalogues.latest.read_bytes() == origin.held.document
    assert len(set(listed(origin))) == len(listed(origin))
    assert sum(reel.rows for reel in origin.held.catalogue.reels) == pub.count
    assert all(row.version for row in origin.index.reels.all() if row.name in listed(origin))
    assert origin.index.refs.are_of(origin.held.digest) and origin.index.refs.held() == origin.held.catalogue.refs
    pub.publish(origin)
    origin.drop_superseded(origin.pop_superseded())


@pytest.mark.parametrize("fail", [fail_following, fail_copying])
def test_a_mirror_that_could_not_follow_a_catalogue_does_the_next_time_that_it_is_given(
    pub: Publisher, origin: State, state: State, monkeypatch: pytest.MonkeyPatch, fail: Fail
) -> None:
    pub.publish(origin)
    assert origin.held is not None
    with monkeypatch.context() as patch:
        fail(patch)
        with pytest.raises(OSError, match="No space left"):
            take_document(state, origin.held.document, FirstTrust())
    take_document(state, origin.held.document, FirstTrust())
    assert state.held is not None and state.held.digest == origin.held.digest
    assert all(state.index.reels.by_name(name) is not None for name in listed(state))  # type: ignore[arg-type]
    assert state.catalogues.latest.read_bytes() == origin.held.document
    assert len(fetch(state, origin)) == 1


def test_the_policy_of_a_catalogue_counts_though_gpgv_failed_as_it_was_taken(
    pub: Publisher, origin: State, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.config.set("policy", "** catalogue strict-expiry")
    pub.publish(origin)
    assert origin.held is not None
    gates: list[PolicyGate] = []
    monkeypatch.setattr(state.ingest(), "use_gate", gates.append)

    def fail(*_args: object) -> list[Race]:
        raise GpgvFailed("gpgv was killed before it ended")

    with monkeypatch.context() as patch:
        patch.setattr(states, "live_races", fail)
        for _ in range(2):
            with pytest.raises(GpgvFailed):
                take_document(state, origin.held.document, FirstTrust())
        assert gates[-1].catalogue == origin.held.catalogue.policy and not state.is_followed
    found: list[Race] = [Race(9, "ab" * 32, b"")]
    monkeypatch.setattr(states, "live_races", lambda *_args: found)
    take_document(state, origin.held.document, FirstTrust())
    assert state.is_followed and state.races is found


@pytest.mark.trio
async def test_a_mirror_that_could_not_follow_a_catalogue_tries_again_by_itself(
    pub: Publisher, origin: State, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    pub.publish(origin)
    assert origin.held is not None
    state.index.meta.set(FOLLOWED, "1")
    async with open_node(state, NodeOptions(offline=True)) as node:
        swarm, wanted = SlowSwarm(), node.news.wanted.number
        node.reel_torrents._session = cast(Session, swarm)
        with monkeypatch.context() as patch:
            fail_following(patch)
            with pytest.raises(OSError, match="No space left"):
                await node._take_catalogue(origin.held.document)
        assert node.keep_up.is_whole and node.news.wanted.number > wanted
        await node.reel_torrents.make()  # as whoever waits for that number does first
        assert state.is_followed
        assert {f"{name}.reel" for name in listed(state)} <= swarm.names


@pytest.mark.warns
def test_a_reel_that_a_catalogue_lists_with_other_numbers_fails_alone(
    pub: Publisher, origin: State, mirror: Repository
) -> None:
    changes: list[dict[str, Any]] = [{"infohash": b"x" * 20}, {"size": 10_000}, {"rows": 2}]
    for change in changes:
        with State(mirror) as state:
            if state.held is None:
                assert origin.held is not None
                take_catalogue(state, origin.held)
                fetch(state, origin)
            known = state.index.reels.all()
            place_a_lie(origin, **change)
            take_document(state, origin.held.document, FirstTrust())
            assert state.held is not None and state.held.digest == origin.held.digest and state.is_followed
            assert [row[:-1] for row in state.index.reels.all()] == [row[:-1] for row in known]
    pub.publish(origin)
    with State(mirror) as state:
        take_document(state, origin.held.document, FirstTrust())
        assert len(fetch(state, origin)) == 1


def place_a_lie(origin: State, **change: Any) -> None:
    """Sign and hold a catalogue that has the numbers of its first reel wrong."""
    drawn = draft(origin, force=True)
    assert isinstance(drawn, Draft)
    reels = (dataclasses.replace(drawn.catalogue.reels[0], **change), *drawn.catalogue.reels[1:])
    lie = dataclasses.replace(drawn, catalogue=dataclasses.replace(drawn.catalogue, reels=reels))
    place(origin, lie, lie.sign())


@pytest.mark.warns
@pytest.mark.parametrize("is_restarted", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("change", [{"infohash": b"x" * 20}, {"size": 10_000}, {"rows": 2}], ids=str)
def test_a_reel_that_was_first_listed_with_other_numbers_is_fetched_once_it_has_its_own(
    pub: Publisher, origin: State, mirror: Repository, change: dict[str, Any], is_restarted: bool
) -> None:
    place_a_lie(origin, **change)
    with State(mirror) as state:
        assert origin.held is not None
        take_catalogue(state, origin.held)
        (row,) = state.index.reels.all()
        for path in (state.layout.reel(row.name), state.layout.metainfo(row.name), state.layout.resume(row.name)):
            path.write_bytes(b"of the torrent that there never was")
        state.index.reels.set_stage([row.id], "partial")
        pub.publish(origin)
        hold(state, origin.held)
        if not is_restarted:
            superseded = state.pop_superseded()
            assert superseded[0][:-1] == row[:-1]  # the swarm is to let go of what it was
            state.drop_superseded(superseded)
    with State(mirror) as state:
        assert list(state.layout.reels.iterdir()) == []
        assert {row[1:5] for row in state.index.reels.all()} == {row[1:5] for row in origin.index.reels.all()}
        assert len(fetch(state, origin)) == 2
        assert state.index.packs.count_by_stage() == {"unpacked": pub.count}
        all_is_well(state)


@pytest.mark.warns
def test_a_reel_that_was_first_listed_with_another_number_of_packs_stops_no_start(
    origin: State, mirror: Repository
) -> None:
    with State(mirror) as state:
        assert origin.held is not None
        take_catalogue(state, origin.held)
        fetch(state, origin)
        with state.index.transaction() as db:
            db.execute("UPDATE reels SET rows = 2")
        (row,) = state.index.reels.all()
        assert state.reel_files.table(row) is None
    with State(mirror) as state:
        assert state.held is not None


def test_going_back_that_failed_on_the_way_is_finished_by_what_is_done_next(
    pub: Publisher, origin: State, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = origin.held
    pub.publish(origin)
    assert origin.held is not None and first is not None
    take_catalogue(state, origin.held)
    fetch(state, origin)
    with monkeypatch.context() as patch:
        fail_copying(patch)
        with pytest.raises(OSError, match="No space left"):
            go_back(state, 1)
    state.finish_hold()
    assert state.held is not None and state.held.digest == first.digest
    assert state.catalogues.latest.read_bytes() == first.document


@pytest.mark.trio
async def test_what_a_publish_kept_before_it_failed_is_followed_and_told_by_the_node(
    pub: Publisher, origin: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_node(origin, NodeOptions(offline=True)) as node:
        swarm = SlowSwarm()
        node.reel_torrents._session = cast(Session, swarm)
        for fail in (fail_following, fail_copying):
            pub.commit()
            drawn = await node.publishing.asked_draft({}, lambda _progress: None)
            request = {"document": signed(drawn), "draft": drawn["draft"]}
            with monkeypatch.context() as patch:
                fail(patch)
                with pytest.raises(OSError, match="No space left"):
                    await node.publishing.asked_place(request, lambda _progress: None)
            if fail is fail_following:
                assert not origin.is_followed
                await node.reel_torrents.make()  # as `KeepUp` does, which was told
            else:
                done = await node.publishing.asked_draft({}, lambda _progress: None)
                assert not done["published"]["new"]
            assert origin.is_followed
            assert {f"{name}.reel" for name in listed(origin)} <= swarm.names


@pytest.mark.trio
async def test_of_two_who_sign_at_once_the_first_one_publishes(pub: Publisher, origin: State) -> None:
    async with open_node(origin, NodeOptions(offline=True)) as node:
        pub.commit()
        drafts = []
        for days in ("20", "30"):  # of another date
            origin.config.set("validdays", days)
            drafts.append(await node.publishing.asked_draft({}, lambda _progress: None))
        assert drafts[0]["draft"] != drafts[1]["draft"]
        published = []
        for drawn in drafts:
            assert digest(drawn["text"].encode()) == drawn["draft"]
            request = {"document": signed(drawn), "draft": drawn["draft"]}
            done = await node.publishing.asked_place(request, lambda _progress: None)
            published.append(done["published"])
        assert published[0]["version"] == 2 and published[1] is None
        assert not node.publishing._drafts


def signed(drawn: dict[str, Any]) -> str:
    return Signer(shared_keys()["alice"], shared_keys().home).clearsign(drawn["text"]).decode()
