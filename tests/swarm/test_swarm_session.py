# SPDX-License-Identifier: GPL-3.0-or-later
"""Two sessions in one process over 127.0.0.1: lazy reads, full fetches, and peers that lie, die or stall."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import libtorrent as lt
import pytest
import trio
import trio.testing
from loopback import LOOPBACK, PIECE, at_mirror, content, make_reel, pair
from ports import free_port
from waiting import WAIT_S

from gtfs.metainfo import BadMetainfo
from gtfs.node.nursery import open_flat_nursery
from gtfs.swarm import alerts, samereel
from gtfs.swarm import probe as probe_module
from gtfs.swarm import session as session_module
from gtfs.swarm.pieces import ReadTimeout, SessionClosed, SwarmError, SwarmTimeout
from gtfs.swarm.session import ListenRefused, Session, open_session
from gtfs.swarm.settings import make_session

pytestmark = pytest.mark.trio

DATA = content(3 * (1 << 20) + 12345)


@pytest.fixture
def reel(tmp_path):
    return make_reel(tmp_path / "publisher", DATA)


async def test_a_lazy_read_moves_only_its_pieces(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        assert torrent.local_bytes() == 0
        got = await torrent.read(100_000, 5000, deadline_s=WAIT_S)
        assert got == DATA[100_000:105_000]
        # The piece that was read, and the last one, where every reel has its footer.
        footer = await torrent.read(len(DATA) - 100, 100, deadline_s=WAIT_S)
        assert footer == DATA[-100:]
        held = [i for i in range(torrent.board.count) if torrent.board.is_here(i)]
        assert held == [1, torrent.board.count - 1]
        moved = (await torrent.refresh()).downloaded_bytes
        assert moved == PIECE + len(DATA) % PIECE
        assert (await mirror.refresh()).downloaded_bytes >= moved
        assert torrent.local_bytes(100_000, 5000) == 5000
        assert torrent.local_bytes(0, PIECE + 10) == 10
        assert torrent.local_bytes() == moved
        assert not torrent.is_complete()
        # Sparse, in its place: no part file beside it.
        await torrent.questions.flush()
        assert [p.name for p in torrent.spec.directory.iterdir() if p != torrent.spec.metainfo] == [reel.file_name]
        assert torrent.spec.path.stat().st_blocks * 512 < 4 * PIECE
        assert torrent.spec.metainfo.read_bytes() == reel.metainfo.read_bytes()


async def test_reads_are_right_at_every_kind_of_range(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        size = len(DATA)
        for offset, length in (
            (0, 1),
            (PIECE - 1, 2),
            (5 * PIECE, PIECE),
            (size - 1, 10),
            (size, 10),
            (7, 0),
            (3 * PIECE - 5, 2 * PIECE + 10),
        ):
            for _ in range(2):
                assert await torrent.read(offset, length, deadline_s=WAIT_S) == DATA[offset : offset + length]
        with pytest.raises(ValueError, match="no such range"):
            await torrent.read(-1, 5, deadline_s=1)


async def test_many_readers_at_once_each_get_their_bytes(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):

        async def check(offset: int) -> None:
            assert await torrent.read(offset, 4096, deadline_s=WAIT_S) == DATA[offset : offset + 4096]

        async with trio.open_nursery() as nursery:
            for offset in range(0, len(DATA), 30_000):
                nursery.start_soon(check, offset)


async def test_read_ahead_comes_without_a_second_read(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (_, torrent, _seeder):
        await torrent.read(0, 1000, deadline_s=WAIT_S, read_ahead=4 * PIECE)
        with trio.fail_after(WAIT_S):
            while torrent.board.count_here(0, 5) < 5:
                await torrent.board.wait_change()
        assert not torrent.board.is_here(6)


async def test_fetch_all_brings_the_whole_file_and_reports_progress(reel, tmp_path):
    seen = []
    async with pair(reel, tmp_path / "mirror") as (_, torrent, seeder):
        await torrent.fetch_all(lambda here, size: seen.append((here, size)), stall_s=WAIT_S)
        assert torrent.is_complete()
        assert torrent.spec.path.read_bytes() == DATA
        assert torrent.spec.path.stat().st_mode & 0o111 == 0
        assert seen == sorted(seen)
        assert seen[-1] == (len(DATA), len(DATA))
        assert (await seeder.refresh()).uploaded_bytes >= len(DATA)
        assert torrent.local_bytes() == len(DATA)


async def test_reads_work_after_their_peer_was_away(reel, tmp_path):
    port = free_port()
    options = dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", port),))
    seeding = dataclasses.replace(LOOPBACK, listen=f"127.0.0.1:{port}")
    async with open_session(options) as mirror:
        async with open_session(seeding) as publisher:
            await publisher.add(reel)
            torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
            assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
        with pytest.raises(ReadTimeout):
            await torrent.read(10 * PIECE, 10, deadline_s=0.5)
        async with open_session(seeding) as publisher:
            await publisher.add(reel)
            assert await torrent.read(20 * PIECE, 10, deadline_s=WAIT_S) == DATA[20 * PIECE : 20 * PIECE + 10]
            # What the timed-out reader wanted was not fetched behind its back.
            assert not torrent.board.is_here(10)


async def test_a_peer_that_is_added_late_serves_a_waiting_read(reel, tmp_path):
    async with open_session(LOOPBACK) as mirror, open_session(LOOPBACK) as publisher:
        torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
        await publisher.add(reel)
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.05)
            torrent.add_peer("127.0.0.1", publisher.port)


async def test_a_host_name_serves_as_peer(reel, tmp_path):
    async with open_session(LOOPBACK) as publisher:
        await publisher.add(reel)
        async with open_session(dataclasses.replace(LOOPBACK, peers=(("localhost", publisher.port),))) as mirror:
            torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
            assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]


async def test_a_dead_peer_means_a_timeout_within_the_deadline(reel, tmp_path):
    options = dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", free_port()),))
    async with open_session(options) as mirror:
        torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
        with trio.fail_after(WAIT_S), pytest.raises(ReadTimeout):
            await torrent.read(0, 10, deadline_s=0.5)
        with trio.fail_after(WAIT_S), pytest.raises(SwarmTimeout):
            await torrent.wait_metadata(0.3)
        with trio.fail_after(WAIT_S), pytest.raises(SwarmTimeout):
            await torrent.fetch_all(stall_s=0.3)
        assert torrent.peers() == 0


async def test_a_silent_peer_means_a_timeout_and_nothing_stays_wanted(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (_, torrent, seeder):
        await torrent.read(len(DATA) - 1, 1, deadline_s=WAIT_S)
        seeder.link.call("pause")
        with pytest.raises(ReadTimeout):
            await torrent.read(0, 10, deadline_s=0.5, read_ahead=5 * PIECE)
        assert not torrent.board.is_hungry()


async def test_closing_the_session_ends_every_wait(reel, tmp_path):
    ended = []
    async with trio.open_nursery() as nursery, open_session(LOOPBACK) as mirror:
        torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))

        async def expect_end(wait) -> None:
            with pytest.raises(SessionClosed):
                await wait()
            ended.append(wait)

        nursery.start_soon(expect_end, lambda: torrent.read(0, 10, deadline_s=600))
        nursery.start_soon(expect_end, lambda: torrent.wait_metadata(600))
        nursery.start_soon(expect_end, lambda: torrent.fetch_all(stall_s=600))
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert len(ended) == 3
    with pytest.raises(SessionClosed):
        await mirror.add(reel)
    with pytest.raises(SessionClosed):
        await torrent.read(0, 10, deadline_s=1)


async def test_removing_a_torrent_ends_its_waits_and_allows_adding_it_again(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        await torrent.read(0, 10, deadline_s=WAIT_S)
        await mirror.remove(torrent.spec.infohash)
        with pytest.raises(SessionClosed):
            await torrent.read(10 * PIECE, 10, deadline_s=1)
        again = await mirror.add(torrent.spec)
        await again.wait_metadata(WAIT_S)
        assert again.board.is_here(0)
        assert await again.read(0, 10, deadline_s=WAIT_S) == DATA[:10]


async def test_adding_twice_gives_the_same_torrent_and_another_spec_is_refused(reel, tmp_path):
    async with open_session(LOOPBACK) as session:
        first = await session.add(reel)
        assert await session.add(reel) is first
        assert await session.add(at_mirror(reel, tmp_path / "other")) is first  # seeded once, whoever has it
        with pytest.raises(SwarmError, match="already"):
            await session.add(at_mirror(reel, tmp_path / "other", size=len(DATA) - 1))
        assert session.torrents() == (first,)


@pytest.mark.warns
@pytest.mark.parametrize("by", ["metainfo that is kept", "metadata that came", "neither"])
async def test_what_one_says_of_anothers_infohash_keeps_that_ones_reel_out_until_it_proves_false(reel, tmp_path, by):
    false = at_mirror(reel, tmp_path / "liar", size=len(DATA) - 1)
    other = at_mirror(reel, tmp_path / "other")
    async with open_session(LOOPBACK) as publisher:
        await publisher.add(reel)
        async with open_session(LOOPBACK) as session:
            liar = await session.add(false)
            if by == "neither":
                with pytest.raises(SwarmError, match="already"):
                    await session.add(other)
                assert session.torrents() == (liar,)
                return
            if by == "metadata that came":
                liar.add_peer("127.0.0.1", publisher.port)
                with pytest.raises(BadMetainfo):
                    await liar.wait_metadata(WAIT_S)
            else:
                other = reel
            torrent = await session.add(other)
            torrent.add_peer("127.0.0.1", publisher.port)
            assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
            assert liar.failure is not None and session.torrents() == (torrent,)
            with pytest.raises(SwarmError, match="already"):
                await session.add(false)


class TakesNone:
    """libtorrent's session, but for what is to be added, which it only keeps."""

    def __init__(self, libtorrent: Any) -> None:
        self._libtorrent = libtorrent
        self.given: list[Any] = []

    def async_add_torrent(self, params: Any) -> None:
        self.given.append(params)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._libtorrent, name)


@pytest.mark.warns
async def test_what_libtorrent_takes_too_late_can_be_added_again(reel, monkeypatch):
    async with open_session(LOOPBACK) as session:
        libtorrent = session._lt
        monkeypatch.setattr(session_module, "ANSWER_S", 0.01)
        session._lt = late = TakesNone(libtorrent)
        for _ in range(2):
            with pytest.raises(SwarmTimeout):
                await session.add(reel)
        session._lt = libtorrent
        assert len(late.given) == 1 and session.torrents() == ()
        libtorrent.async_add_torrent(late.given[0])
        monkeypatch.setattr(session_module, "ANSWER_S", WAIT_S)
        with trio.fail_after(WAIT_S):
            while session._unanswered:
                await session.refresh()
            torrent = await session.add(reel)
            await torrent.wait_metadata(WAIT_S)
        assert torrent.failure is None and not torrent.milestones.left.is_set()


@contextmanager
def removals_held(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[Any], Any]]:
    """The session does not hear which torrents have gone, nor finds out: gives those reports, and what lets it hear."""
    dispatch = session._dispatch_torrent
    held: list[alerts.Removed] = []

    def late(event: alerts.TorrentEvent) -> None:
        if isinstance(event, alerts.Removed):
            held.append(event)
        else:
            dispatch(event)

    monkeypatch.setattr(session, "_dispatch_torrent", late)
    with monkeypatch.context() as found:
        found.setattr(session._lost_answers, "look", lambda: None)
        yield held, dispatch
    monkeypatch.setattr(session, "_dispatch_torrent", dispatch)


async def add_once_heard(session, reel, held, dispatch):
    """Have it hear that the one before has gone, and take the next."""
    while not held:
        await session.refresh()
    dispatch(held.pop())
    torrent = await session.add(reel)
    await torrent.wait_metadata(WAIT_S)
    assert not held and torrent.failure is None and not torrent.milestones.left.is_set()


@pytest.mark.warns
async def test_that_what_came_too_late_has_gone_is_not_taken_for_the_next_one(reel, monkeypatch):
    async with open_session(LOOPBACK) as session:
        libtorrent = session._lt
        with removals_held(session, monkeypatch) as (held, dispatch):
            monkeypatch.setattr(session_module, "ANSWER_S", 0.01)
            session._lt = takes_none = TakesNone(libtorrent)
            with pytest.raises(SwarmTimeout):
                await session.add(reel)
            session._lt = libtorrent
            monkeypatch.setattr(session_module, "ANSWER_S", WAIT_S)
            libtorrent.async_add_torrent(takes_none.given[0])
            with trio.fail_after(WAIT_S):
                while not held:
                    await session.refresh()
                with pytest.raises(SwarmTimeout):
                    await session.add(reel)
                await add_once_heard(session, reel, held, dispatch)


@pytest.mark.warns
async def test_that_what_was_taken_out_has_gone_is_not_taken_for_the_next_one(reel, monkeypatch, tmp_path):
    async with open_session(LOOPBACK) as session:
        await (await session.add(reel)).wait_metadata(WAIT_S)
        with removals_held(session, monkeypatch) as (held, dispatch):
            monkeypatch.setattr(session_module, "ANSWER_S", 0.01)
            await session.remove(reel.infohash)
            monkeypatch.setattr(session_module, "ANSWER_S", WAIT_S)
            with trio.fail_after(WAIT_S):
                for again in (
                    lambda: session.add(reel),
                    lambda: session.learn_info(reel.infohash, tmp_path / "staging", deadline_s=WAIT_S),
                ):
                    with pytest.raises(SwarmTimeout, match="has not answered yet"):
                        await again()
                await add_once_heard(session, reel, held, dispatch)


@pytest.mark.warns
async def test_that_one_who_was_asked_for_metadata_has_gone_is_not_taken_for_the_next_one(reel, monkeypatch, tmp_path):
    async with open_session(LOOPBACK) as session:
        with removals_held(session, monkeypatch) as (held, dispatch):
            monkeypatch.setattr(probe_module, "ANSWER_S", 0.5)
            with pytest.raises(SwarmTimeout, match="no peer gave its metadata"):
                await session.learn_info(reel.infohash, tmp_path / "staging", deadline_s=0.01)
            with trio.fail_after(WAIT_S):
                with pytest.raises(SwarmTimeout, match="has not answered yet"):
                    await session.add(reel)
                await add_once_heard(session, reel, held, dispatch)


class LosesAnswers:
    """libtorrent's session, whose reports of some kinds are lost, so that it says that some were."""

    def __init__(self, libtorrent: Any, lost: tuple[type, ...]) -> None:
        self._libtorrent = libtorrent
        self._lost = lost

    def pop_alerts(self) -> list[Any]:
        return [alert for alert in self._libtorrent.pop_alerts() if not isinstance(alert, self._lost)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._libtorrent, name)


async def look_for_lost_answers(session):
    """Have it told that alerts were lost; return when nothing waits for an answer any more."""
    session._dispatch(alerts.AlertsDropped())
    while session._unanswered:
        await session.refresh()


async def add_again(session, reel):
    """What was in it before, or nearly, is taken."""
    torrent = await session.add(reel)
    await torrent.wait_metadata(WAIT_S)
    assert torrent.failure is None


@pytest.mark.warns
@pytest.mark.parametrize("lost", [(lt.add_torrent_alert,), (lt.add_torrent_alert, lt.torrent_checked_alert)])
async def test_a_torrent_whose_answer_was_lost_is_looked_for_and_taken(reel, lost):
    async with open_session(LOOPBACK) as session:
        libtorrent = session._lt
        session._lt = LosesAnswers(libtorrent, lost)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.add, reel)
            with trio.fail_after(WAIT_S):
                while not session._unanswered or not libtorrent.find_torrent(lt.sha1_hash(reel.infohash)).is_valid():
                    await session.refresh()
                for _ in range(2):  # what was lost has come by then
                    await session.refresh()
                session._lt = libtorrent
                await look_for_lost_answers(session)
        await add_again(session, reel)


@pytest.mark.warns
async def test_a_torrent_that_came_too_late_and_of_which_it_was_lost_that_it_has_gone_can_be_added_again(
    reel, monkeypatch
):
    async with open_session(LOOPBACK) as session:
        libtorrent = session._lt
        monkeypatch.setattr(session_module, "ANSWER_S", 0.01)
        session._lt = takes_none = TakesNone(libtorrent)
        with pytest.raises(SwarmTimeout):
            await session.add(reel)
        session._lt = LosesAnswers(libtorrent, (lt.torrent_removed_alert,))
        monkeypatch.setattr(session_module, "ANSWER_S", WAIT_S)
        with trio.fail_after(WAIT_S):
            libtorrent.async_add_torrent(takes_none.given[0])
            with trio.move_on_after(1):
                while session._unanswered:
                    await session.refresh()
            assert session._unanswered
            await look_for_lost_answers(session)
        await add_again(session, reel)
        session._lt = libtorrent


@pytest.mark.warns
async def test_a_torrent_that_was_taken_out_and_of_which_it_was_lost_that_it_has_gone_can_be_added_again(
    reel, monkeypatch, tmp_path
):
    async with open_session(LOOPBACK) as session:
        libtorrent = session._lt
        await (await session.add(reel)).wait_metadata(WAIT_S)
        session._lt = LosesAnswers(libtorrent, (lt.torrent_removed_alert,))
        monkeypatch.setattr(session_module, "ANSWER_S", 0.01)
        monkeypatch.setattr(probe_module, "ANSWER_S", 0.5)
        with trio.fail_after(WAIT_S):
            await session.remove(reel.infohash)
            while session._unanswered:
                await session.refresh()
            with pytest.raises(SwarmTimeout, match="no peer gave its metadata"):
                await session.learn_info(reel.infohash, tmp_path / "staging", deadline_s=0.01)
            while session._unanswered:
                await session.refresh()
        session._lt = libtorrent
        monkeypatch.setattr(session_module, "ANSWER_S", WAIT_S)
        await add_again(session, reel)


@pytest.mark.warns
async def test_a_torrent_whose_refusal_was_lost_can_be_added_again(reel):
    async with open_session(LOOPBACK) as session:
        libtorrent = session._lt
        session._lt = TakesNone(libtorrent)
        with pytest.raises(SwarmError, match="why was lost"), trio.fail_after(WAIT_S):
            async with open_flat_nursery() as nursery:
                nursery.start_soon(session.add, reel)
                while not session._unanswered:
                    await session.refresh()
                session._dispatch(alerts.AlertsDropped())
        session._lt = libtorrent
        await add_again(session, reel)


async def test_who_adds_what_is_being_taken_out_gets_it_when_it_is_to_be_had_again(reel, tmp_path):
    async with open_session(LOOPBACK) as session:
        before = await session.add(reel)
        other = at_mirror(reel, tmp_path / "other")
        there = []

        async def add():
            there.append(await session.add(other))

        async with trio.open_nursery() as nursery, before._changing:  # which holds up who takes it out
            nursery.start_soon(session.remove, reel.infohash)
            await before.milestones.left.wait()
            nursery.start_soon(add)
            await trio.testing.wait_all_tasks_blocked()
            assert not there and not before.milestones.gone.is_set()
        assert before.milestones.gone.is_set()
        assert [torrent.spec.directory for torrent in there] == [other.directory]


async def test_what_is_half_out_goes_to_the_end_though_who_takes_it_out_is_cancelled(reel):
    async with open_session(LOOPBACK) as session:
        torrent = await session.add(reel)

        async def remove():
            with trio.CancelScope() as scope:
                scopes.append(scope)
                await session.remove(reel.infohash)

        scopes: list[trio.CancelScope] = []
        async with trio.open_nursery() as nursery, torrent._changing:
            nursery.start_soon(remove)
            await torrent.milestones.left.wait()
            scopes[0].cancel()
        assert session.torrent(reel.infohash) is None
        assert (await session.add(reel)).failure is None


async def test_an_error_of_the_body_comes_out_as_itself():
    with pytest.raises(KeyError):
        async with open_session(LOOPBACK):
            raise KeyError("the node's own")


async def test_cancelling_around_a_session_closes_it(reel, tmp_path):
    with trio.move_on_after(0.3) as scope:
        async with open_session(LOOPBACK) as session:
            torrent = await session.add(at_mirror(reel, tmp_path / "mirror"))
            await torrent.read(0, 1, deadline_s=600)
    assert scope.cancelled_caught


async def test_a_port_that_is_taken_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenRefused, match=str(port)):
            async with open_session(dataclasses.replace(LOOPBACK, listen=f"127.0.0.1:{port}")):
                pass


async def test_the_port_is_the_one_that_accepts_connections():
    options = dataclasses.replace(LOOPBACK, listen="127.0.0.1:0,[::1]:0")
    async with open_session(options) as session:
        for host in ("127.0.0.1", "::1"):
            stream = await trio.open_tcp_stream(host, session.port)
            await stream.aclose()


def nodelay_of_loopback_connections() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with sock:
            try:
                if sock.family == socket.AF_INET and sock.getpeername()[0] == "127.0.0.1":
                    found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            except OSError:
                pass
    return found


async def test_both_ends_of_a_connection_have_nodelay(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (_mirror, torrent, _):
        await torrent.read(0, 10, deadline_s=WAIT_S)
        with trio.fail_after(WAIT_S):  # it is set in a thread, soon after the connection
            while len(found := nodelay_of_loopback_connections()) < 2 or not all(found):  # noqa: ASYNC110
                await trio.sleep(0.05)


async def test_a_dead_tracker_does_no_harm(reel, tmp_path):
    url = f"http://127.0.0.1:{free_port()}/announce"
    async with pair(reel, tmp_path / "mirror", trackers=(url,)) as (_, torrent, _seeder):
        assert await torrent.read(0, 10, deadline_s=WAIT_S) == DATA[:10]
        with trio.fail_after(WAIT_S):
            while url not in torrent.statistics().trackers:  # noqa: ASYNC110  (statistics have no event)
                await trio.sleep(0.05)
        assert torrent.statistics().trackers[url]


async def test_a_rate_limit_holds_on_loopback_too(reel, tmp_path):
    rate = 1 << 20
    async with open_session(dataclasses.replace(LOOPBACK, upload_rate=rate)) as publisher:
        await publisher.add(reel)
        async with open_session(dataclasses.replace(LOOPBACK, peers=(("127.0.0.1", publisher.port),))) as mirror:
            torrent = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
            await torrent.wait_metadata(WAIT_S)
            begun = time.monotonic()
            await torrent.fetch_all(stall_s=WAIT_S)
            # A slow machine only makes it longer. At first there is some to spare.
            assert torrent.local_bytes() < rate * (2 + time.monotonic() - begun)


class Watched:
    """libtorrent's session, and the thread in which it goes."""

    ends: list[str] = []

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __del__(self) -> None:
        self.ends.append(threading.current_thread().name)


async def test_libtorrents_session_goes_in_a_thread_of_its_own_as_that_takes_time(monkeypatch):
    monkeypatch.setattr(Watched, "ends", [])
    monkeypatch.setattr(session_module, "make_session", lambda *given: Watched(make_session(*given)))
    async with open_session(dataclasses.replace(LOOPBACK, dht=True, dht_nodes=(("127.0.0.1", free_port()),))):
        pass
    (thread,) = Watched.ends
    assert thread != threading.main_thread().name


async def test_a_second_ctrl_c_while_the_session_closes_ends_it_all_the_same(monkeypatch):
    with trio.fail_after(WAIT_S), pytest.raises(KeyboardInterrupt):
        async with open_session(LOOPBACK) as session:

            async def interrupted() -> None:
                raise KeyboardInterrupt

            monkeypatch.setattr(session, "_close", interrupted)
    session._lt = None  # which is not let go of in this case, but at the end of the process


async def test_a_torrent_is_taken_out_though_who_asked_for_it_hangs_up(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        await torrent.read(0, 10, deadline_s=WAIT_S)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mirror.remove, reel.infohash)
            with pytest.raises(SessionClosed):
                while True:
                    await torrent.board.wait_change()
            nursery.cancel_scope.cancel()
        again = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
        assert again is not torrent
        assert await again.read(0, len(DATA), deadline_s=WAIT_S) == DATA


async def test_a_torrent_that_is_added_while_it_is_taken_out_is_a_new_one(reel, tmp_path):
    async with pair(reel, tmp_path / "mirror") as (mirror, torrent, _):
        await torrent.wait_metadata(WAIT_S)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mirror.remove, reel.infohash)
            with pytest.raises(SessionClosed):
                while True:
                    await torrent.board.wait_change()
            assert mirror.torrent(reel.infohash) is torrent
            again = await mirror.add(at_mirror(reel, tmp_path / "mirror"))
        assert mirror.torrent(reel.infohash) is again is not torrent
        assert await again.read(0, 10, deadline_s=WAIT_S) == DATA[:10]


async def test_a_file_that_is_copied_into_a_place_is_finished_before_its_torrent_is_out(reel, tmp_path, monkeypatch):
    begun, go, done = trio.Event(), threading.Event(), threading.Event()
    copy = samereel._copy

    def slow(*given):
        trio.from_thread.run_sync(begun.set)
        assert go.wait(WAIT_S)
        info = copy(*given)
        done.set()
        return info

    monkeypatch.setattr(samereel, "_copy", slow)
    async with open_session(LOOPBACK) as session:
        torrent = await session.add(at_mirror(reel, tmp_path / "mirror"))
        async with trio.open_nursery() as nursery:

            async def remove() -> None:
                await session.remove(reel.infohash)
                assert done.is_set()

            async def lend() -> None:
                with pytest.raises(SessionClosed):
                    await session.add(reel)
                    torrent.board.check()

            nursery.start_soon(lend)
            await begun.wait()
            nursery.start_soon(remove)
            try:
                with pytest.raises(SessionClosed):
                    while True:
                        await torrent.board.wait_change()
                await torrent.milestones.left.wait()
                await trio.testing.wait_all_tasks_blocked(0.05)
            finally:
                go.set()
