# SPDX-License-Identifier: GPL-3.0-or-later
"""When a cache encodes a reel again: for who comes back after he was hung up on, and for nobody else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import trio
import trio.testing

from gtfs.ids import InfoHash, ReelName
from gtfs.node import ondemand
from gtfs.node.ondemand import OnDemand
from gtfs.reel.index import ReelRow
from gtfs.repo.repository import GitFailed
from gtfs.swarm.nodelay import Connection
from gtfs.swarm.peers import Taker
from gtfs.swarm.spec import TorrentStatistics

PIECES = 10


@dataclass
class Peer:
    """At the other end of one reel. ``wants``: it dials again when it is hung up on."""

    number: int
    wants: bool = True
    pieces: int = 1
    is_interested: bool = False
    connected: bool = True
    hung_up_on: int = 0

    def taker(self) -> Taker:
        connection = Connection(6881, ("192.0.2.1", self.number))
        return Taker(b"%020d" % self.number, self.pieces, self.is_interested, connection)


@dataclass
class Reel:
    """One of the cache's, and its torrent: what is not whole is let in and has a table."""

    id: int
    peers: list[Peer] = field(default_factory=list)
    whole: bool = False
    given: int = 0  # bytes, since it was made whole
    fails: list[Any] = field(default_factory=list)  # what git gives instead, one try after the other

    def is_complete(self) -> bool:
        return self.whole

    def statistics(self) -> TorrentStatistics:
        return TorrentStatistics(uploaded_bytes=self.given)

    def is_fetching(self) -> bool:
        return False

    def is_ready(self) -> bool:
        return True

    def row(self) -> ReelRow:
        stage = "complete" if self.whole else "partial"
        return ReelRow(self.id, ReelName(f"{self.id:064x}"), InfoHash(bytes([self.id]) * 20), 100, 1, 1, stage)


class Cache:
    """What `OnDemand` is given: index, torrents, room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *reels: Reel, room: int = 1000) -> None:
        self.by_id = {reel.id: reel for reel in reels}
        self.room = room
        self.tries = 0
        self.takes_s = 0.0  # to encode a reel
        monkeypatch.setattr(ondemand, "takers", self._takers)
        monkeypatch.setattr(ondemand, "leave", self._leave)
        self.index = self.reels = self.repository = self
        self.path = "cache.git"
        self.demand = OnDemand(cast(Any, self), cast(Any, self), self._has_room)

    # The index, the torrents, and their peers.

    def get(self, reel_id: int) -> ReelRow:
        return self.by_id[reel_id].row()

    def met(self) -> list[tuple[int, Reel]]:
        return [(reel.id, reel) for reel in self.by_id.values() if any(peer.connected for peer in reel.peers)]

    def reel(self, reel_id: int) -> Reel:
        return self.by_id[reel_id]

    def is_let_in(self, _row: ReelRow) -> bool:
        return True

    has_table = is_own = is_let_in

    async def encode_again(self, row: ReelRow) -> bool:
        self.tries += 1
        await trio.sleep(self.takes_s)
        reel = self.by_id[row.id]
        if reel.fails:
            failure = reel.fails.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return bool(failure)
        reel.whole = True
        return True

    async def _takers(self, reel: Reel) -> tuple[Taker, ...]:
        return tuple(peer.taker() for peer in reel.peers if peer.connected)

    async def _leave(self, connections: list[Connection]) -> None:
        for reel in self.by_id.values():
            for peer in reel.peers:
                if peer.taker().connection in connections:
                    peer.hung_up_on += 1
                    peer.connected = peer.wants

    async def _has_room(self, size: int) -> bool:
        here = sum(reel.row().size for reel in self.by_id.values() if reel.whole)
        return here + size <= self.room or not self.demand.is_any_asked()

    def whole(self) -> list[int]:
        return [reel.id for reel in self.by_id.values() if reel.whole]

    def run(self, *steps: Any) -> None:
        """Numbers are seconds that pass; what can be called is called between."""

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.demand.run_task)
                for step in steps:
                    if callable(step):
                        step()
                    else:
                        await trio.sleep(step)
                nursery.cancel_scope.cancel()

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_comes_back_gets_the_reel(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(1)
    cache = Cache(monkeypatch, Reel(1, [peer]))
    cache.run(20)
    assert (cache.whole(), peer.hung_up_on, cache.tries) == ([1], 1, 1)


def test_who_stays_away_has_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(1, wants=False)
    cache = Cache(monkeypatch, Reel(1, [peer]))
    cache.run(600)
    assert (cache.whole(), peer.hung_up_on) == ([], 1)


def test_who_can_still_take_what_is_here_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(1, pieces=0, is_interested=True)
    cache = Cache(monkeypatch, Reel(1, [peer]))
    cache.run(60)
    assert (cache.whole(), peer.hung_up_on) == ([], 0)


def test_who_gets_pieces_from_others_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(1)

    def gets_one() -> None:
        peer.pieces += 1

    cache = Cache(monkeypatch, Reel(1, [peer]))
    cache.run(*[2, gets_one] * (PIECES - 2))
    assert (cache.whole(), peer.hung_up_on) == ([], 0)


def test_who_comes_back_to_somebody_who_gives_it_brings_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(1, wants=False)
    cache = Cache(monkeypatch, Reel(1, [peer]))

    def comes() -> None:
        peer.connected = True

    def gets_one() -> None:
        peer.pieces += 1

    cache.run(20, comes, 2, gets_one, 10)
    assert (cache.whole(), peer.hung_up_on) == ([], 2)


def test_a_reel_is_kept_as_long_as_somebody_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(1)
    cache = Cache(monkeypatch, Reel(1, [peer]))
    asked: list[bool] = []

    def look() -> None:
        asked.append(cache.demand.is_asked(1))

    def begin() -> None:
        peer.is_interested = True

    def end() -> None:
        peer.is_interested = False

    cache.run(look, 10, look, begin, 300, look, end, 30, look)
    assert asked == [False, True, True, False]


def test_a_reel_that_nobody_takes_after_all_is_let_go_of_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(monkeypatch, Reel(1, [Peer(1)]))
    asked: list[bool] = []

    def look() -> None:
        asked.append(cache.demand.is_asked(1))

    cache.run(600, look, 600, look)  # he may be run by a timer
    assert (cache.whole(), asked) == ([1], [True, False])


def test_a_reel_that_was_taken_between_two_looks_is_let_go_of_again(monkeypatch: pytest.MonkeyPatch) -> None:
    taker = Peer(1)
    reel = Reel(1, [taker])
    cache = Cache(monkeypatch, reel)

    asked: list[bool] = []

    def look() -> None:
        asked.append(cache.demand.is_asked(1))

    def take_and_go() -> None:
        reel.given, taker.connected, taker.wants = 100, False, False

    cache.run(10, look, take_and_go, 10, look)
    assert (cache.whole(), asked) == ([1], [True, False])


def test_what_nobody_has_taken_holds_up_no_other_reel(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(monkeypatch, Reel(1, [Peer(1)]), Reel(2), room=50)
    cache.run(60, lambda: cache.by_id[2].peers.append(Peer(2)), 60)
    assert cache.whole() == [1, 2]


def test_without_room_reels_come_back_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Peer(1)
    cache = Cache(monkeypatch, Reel(1, [first]), Reel(2, [Peer(2)]), room=50)
    seen: list[list[int]] = []

    def takes() -> None:
        first.is_interested = True

    def look() -> None:
        seen.append(cache.whole())

    def has_all() -> None:
        cache.by_id[1].peers.remove(first)
        cache.by_id[1].given = 100

    cache.run(10, takes, 40, look, has_all, 10, look)
    assert seen == [[1], [1, 2]]


@pytest.mark.warns
def test_what_git_gives_in_other_bytes_is_tried_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(monkeypatch, Reel(1, [Peer(1)], fails=[False]))
    cache.run(600)
    assert (cache.whole(), cache.tries) == ([], 1)
    assert "as it was published" in caplog.text


@pytest.mark.warns
def test_a_failure_of_the_machine_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fails = [OSError(28, "No space left on device"), GitFailed(["cat-file"], -9, b"")]
    cache = Cache(monkeypatch, Reel(1, [Peer(1)], fails=fails))
    cache.run(600)
    assert (cache.whole(), cache.tries) == ([1], 3)
    assert "just now: [Errno 28]" in caplog.text


def test_who_asks_for_ever_takes_half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(monkeypatch, *[Reel(number, [Peer(number)]) for number in range(1, 200)], room=1_000_000)
    cache.takes_s = 50
    cache.run(2000)
    assert cache.tries <= 20
