# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told whom to dial, and that libtorrent hears of what keeps it from giving peers up."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from gtfs.swarm import addresses as addresses_module
from gtfs.swarm.addresses import AddressBook
from gtfs.swarm.dialling import REST_S, TELL_AGAIN, TOLD_AT_ONCE, WAITS_S, Dialling

NAMED, MET, OF_ITS_SPEC = ("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.3", 3)


class FakeTorrent(SimpleNamespace):
    def __init__(
        self,
        *,
        hungry: bool,
        peers: int,
        failure: Exception | None = None,
        resting: bool = False,
        awaited: bool = False,
    ) -> None:
        spec = SimpleNamespace(peers=(OF_ITS_SPEC,), awaited=awaited)
        super().__init__(spec=spec, failure=failure, is_resting=resting, told=[])
        self.peers = lambda: peers
        self.is_hungry = lambda: hungry
        self.is_lonely = lambda: hungry and not peers
        self.add_peer = lambda address, port: self.told.append((address, port))


class FakeSession:
    def __init__(self) -> None:
        self.heard: list[dict[str, int]] = []

    def apply_settings(self, settings):
        self.heard.append(settings)


@pytest.fixture
def dialling():
    addresses = AddressBook()
    addresses.add((NAMED, OF_ITS_SPEC))
    addresses.meet(MET)
    return Dialling(addresses, (NAMED,))


def ticked(dialling, torrent, ticks, *, is_probing=False):
    session = FakeSession()
    for _ in range(ticks):
        dialling.tick(session, [torrent], lambda: [torrent], is_probing=is_probing)
    return session.heard


def test_a_lonely_torrent_is_told_of_everybody_at_each_tick(dialling):
    torrent = FakeTorrent(hungry=True, peers=0)
    ticked(dialling, torrent, 2)
    assert torrent.told == 2 * [OF_ITS_SPEC, NAMED, MET]


def test_a_hungry_torrent_that_has_a_peer_is_told_of_the_others_now_and_then(dialling):
    torrent = FakeTorrent(hungry=True, peers=1)
    ticked(dialling, torrent, TELL_AGAIN)
    assert torrent.told == [OF_ITS_SPEC, NAMED, MET]


def test_who_is_hungry_hears_of_another_number_of_failures_each_time_though_it_has_a_peer(dialling):
    numbers = [heard["max_failcount"] for heard in ticked(dialling, FakeTorrent(hungry=True, peers=1), 4)]
    assert all(one != next_one for one, next_one in itertools.pairwise(numbers))
    assert min(numbers) > 31  # libtorrent counts no further


def test_the_wait_before_another_dial_is_not_always_the_same(dialling):
    waits = {heard["min_reconnect_time"] for heard in ticked(dialling, FakeTorrent(hungry=True, peers=1), 200)}
    assert waits == set(WAITS_S)


def test_who_looks_for_metadata_alone_hears_of_it_too(dialling):
    assert ticked(dialling, FakeTorrent(hungry=False, peers=0), 1, is_probing=True)


@pytest.mark.parametrize(
    "torrent", [FakeTorrent(hungry=False, peers=0), FakeTorrent(hungry=True, peers=0, failure=OSError())]
)
def test_who_wants_nothing_or_is_dead_dials_nobody(dialling, torrent):
    assert ticked(dialling, torrent, TELL_AGAIN) == []
    assert torrent.told == []


def test_whom_all_that_are_hungry_hung_up_on_is_not_dialled_again_soon(dialling):
    def waits(*torrents, is_probing=False):
        session = FakeSession()
        dialling.tick(session, torrents, lambda: torrents, is_probing=is_probing)
        return session.heard[0]["min_reconnect_time"]

    resting = FakeTorrent(hungry=True, peers=1, resting=True)
    assert waits(resting) == REST_S
    assert waits(resting, FakeTorrent(hungry=True, peers=1)) in WAITS_S
    assert waits(resting, is_probing=True) in WAITS_S


def test_who_waits_for_what_is_still_to_be_made_hears_now_and_then_of_whom_to_dial(dialling):
    alone, met = (FakeTorrent(hungry=False, peers=peers, awaited=True) for peers in (0, 1))
    assert ticked(dialling, alone, TELL_AGAIN) == ticked(dialling, met, TELL_AGAIN) == []
    assert alone.told == [OF_ITS_SPEC, NAMED, MET]
    assert met.told == [OF_ITS_SPEC, NAMED, MET]


def test_of_many_that_wait_each_that_has_peers_hears_of_few_others(dialling):
    crowd = [FakeTorrent(hungry=False, peers=n % 2, awaited=True) for n in range(TOLD_AT_ONCE)]
    for n in range(10):
        dialling._addresses.meet(("198.51.100.1", 1000 + n))
    for _ in range(TELL_AGAIN):
        dialling.tick(FakeSession(), crowd, lambda: crowd, is_probing=False)
    assert {len(torrent.told) for torrent in crowd[::2]} == {2 + 11}
    assert all(torrent.told == [OF_ITS_SPEC, NAMED, ("198.51.100.1", 1009)] for torrent in crowd[1::2])


def test_of_those_who_answered_the_last_ones_are_remembered() -> None:
    addresses = AddressBook()
    crowd = [(f"198.51.100.{n % 250}", 1000 + n) for n in range(10 * addresses_module.MET)]
    for stranger in crowd:
        addresses.meet(stranger)
    assert addresses.met() == crowd[-addresses_module.MET :]
