# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a session says in the DHT what it has: nodes shut out who sends them much at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gtfs.swarm.addresses import AddressBook
from gtfs.swarm.dht import Dht
from gtfs.swarm.link import Link
from gtfs.swarm.membership import TELL_EVERY_S, TOLD_AT_ONCE, Membership
from gtfs.swarm.options import SwarmOptions

pytestmark = pytest.mark.trio


class Said(Link):
    """A torrent that notes when it was announced."""

    def __init__(self, name: str, told: list[tuple[float, str]]) -> None:
        super().__init__(name)
        self._told = told

    def call(self, method: str, *_arguments: Any) -> None:
        assert method == "force_dht_announce"
        self._told.append((round(trio.current_time(), 3), self.name))


@pytest.fixture
def told() -> list[tuple[float, str]]:
    return []


@pytest.fixture
def links(told: list[tuple[float, str]]) -> list[Link]:
    return [Said(name, told) for name in "abcdefg"]


@pytest.fixture
def membership(links: list[Link]) -> Iterator[Membership]:
    options = SwarmOptions(dht=True)
    yield Membership(options, Dht(options, tuple, AddressBook()), lambda: links, dict)


async def test_in_a_larger_dht_a_few_are_announced_at_once_and_then_one_now_and_then(
    membership: Membership, told: list[tuple[float, str]], nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(membership.run_task, lambda: None)
    await trio.sleep(20)
    start_s = trio.current_time()
    membership.on_nodes(1)
    await trio.sleep(60)
    later = [start_s + TELL_EVERY_S * (n + 1) for n in range(7 - TOLD_AT_ONCE)]
    assert told == list(zip([start_s] * TOLD_AT_ONCE + later, "abcdefg", strict=True))
    told.clear()
    membership.on_nodes(1)  # it has not grown
    await trio.sleep(60)
    assert told == []


async def test_where_nodes_come_faster_than_all_are_told_the_last_have_their_turn_and_who_went_has_none(
    membership: Membership,
    links: list[Link],
    told: list[tuple[float, str]],
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    nursery.start_soon(membership.run_task, lambda: None)
    membership.on_nodes(1)
    await trio.sleep(0.5)
    assert [name for _, name in told] == ["a", "b", "c", "d"]
    links.remove(next(link for link in links if link.name == "f"))
    membership.on_nodes(2)
    await trio.sleep(60)
    assert [name for _, name in told] == ["a", "b", "c", "d", "e", "g", "a", "b", "c", "d"]
