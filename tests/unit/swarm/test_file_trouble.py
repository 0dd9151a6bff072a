# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that cannot be written: it is told until a try was good, and whoever asks gets a try at once."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from gtfs.swarm.link import Link
from gtfs.swarm.pieces import Board
from gtfs.swarm.trouble import RETRY_S, FileTrouble

pytestmark = pytest.mark.trio

FULL = "No space left on device"


class Quiet:
    """A link and a board to which nothing happens."""

    name = "reel"
    count = 3

    def call(self, *_: Any) -> None: ...

    def stir(self) -> None: ...

    def priorities(self) -> list[int]:
        return [0] * self.count


@pytest.fixture
def told() -> list[str | None]:
    return []


@pytest.fixture
def trouble(told: list[str | None]) -> FileTrouble:
    return FileTrouble(cast("Link", Quiet()), cast("Board", Quiet()), told.append, lambda: 0)


@pytest.mark.warns
async def test_who_tries_again_waits_for_the_try_and_does_not_end_the_trouble(
    trouble: FileTrouble, told: list[str | None], autojump_clock: MockClock
) -> None:
    trouble.came(FULL, is_ready=True)
    for _ in range(3):
        trouble.try_again()
        assert trouble.reason is None
        assert not trouble.is_over()
        await trio.sleep(RETRY_S / 2)
        trouble.tick()
        trouble.came(FULL, is_ready=True)
        assert trouble.reason == FULL
    assert None not in told


@pytest.mark.warns
async def test_it_is_over_when_nothing_failed_since_the_last_try(
    trouble: FileTrouble, told: list[str | None], autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    trouble.came(FULL, is_ready=True)
    trouble.try_again()
    await trio.sleep(RETRY_S)
    trouble.tick()
    assert trouble.is_over()
    assert told == [FULL, None]
    trouble.came(FULL, is_ready=True)
    await trio.sleep(RETRY_S)
    trouble.tick()  # by itself
    assert not trouble.is_over()
    await trio.sleep(RETRY_S)
    trouble.tick()
    assert trouble.is_over()
    assert told[-1] is None
    assert caplog.text.count(FULL) == 2  # a line each time that it begins
