# SPDX-License-Identifier: GPL-3.0-or-later
"""To how many a session sends at a time."""

from __future__ import annotations

from types import SimpleNamespace

from gtfs.swarm.slots import AT_ONCE, EVERYBODY, MANY, Slots


def test_few_are_sent_to_while_many_fetch_the_same_and_everybody_afterwards() -> None:
    told: list[dict[str, int]] = []
    slots = Slots(lambda: SimpleNamespace(apply_settings=told.append))
    for mirrors in (0, MANY, MANY + 1, 50, MANY, 0):
        slots.choose(mirrors)
    assert told == [{"unchoke_slots_limit": AT_ONCE}, {"unchoke_slots_limit": EVERYBODY}]


def test_a_session_that_closes_is_told_nothing() -> None:
    Slots(lambda: None).choose(MANY + 1)
