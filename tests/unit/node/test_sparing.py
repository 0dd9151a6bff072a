# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from gtfs.node.sparing import MOST_S, ListedVersion, Sparing

pytestmark = pytest.mark.trio
AT_REST: dict[str, Any] = {"version": 3, "silent": True, "left_s": 86400.0, "listed": ListedVersion("demo", 3)}


def sparing(**changes: Any) -> Sparing:
    given = AT_REST | changes
    held = None if given["version"] is None else SimpleNamespace(
        catalogue=SimpleNamespace(repository="demo", version=given["version"])
    )  # fmt: skip
    until_s = None if held is None else int(time.time() + given["left_s"])
    state: Any = SimpleNamespace(held=held, good_until_s=lambda: until_s)
    bell: Any = SimpleNamespace(is_silent_after=lambda version: given["silent"] and version == given["version"])
    return Sparing(state, bell, lambda: given["listed"])


async def test_a_mirror_that_holds_what_is_listed_and_hears_the_bell_leaves_a_turn_out(autojump_clock: object) -> None:
    answered_at = trio.current_time()
    assert sparing().may(answered_at)
    assert sparing(version=4).may(answered_at)  # a list is late


@pytest.mark.parametrize(
    "changes",
    [
        {"listed": None},
        {"listed": ListedVersion("demo", 4)},
        {"listed": ListedVersion("other", 3)},
        {"silent": False},
        {"left_s": 3600.0},
        {"left_s": -1.0},
        {"version": None},
    ],
    ids=str,
)
async def test_whatever_speaks_for_asking_is_a_reason_to_ask(changes: dict[str, Any]) -> None:
    assert not sparing(**changes).may(trio.current_time())


async def test_a_feed_is_asked_each_hour_whoever_says_what(autojump_clock: object) -> None:
    answered_at = trio.current_time()
    await trio.sleep(MOST_S - 1)
    assert sparing().may(answered_at)
    await trio.sleep(1)
    assert not sparing().may(answered_at)
    assert not sparing().may(float("-inf"))  # it has never answered
