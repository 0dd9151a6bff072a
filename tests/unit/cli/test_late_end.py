# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that hangs as all are to end is named, and holds up the end no longer than is said."""

from __future__ import annotations

import configparser
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

import gtfs
from gtfs.cli.work.ending import END_S, SAVE_S, see_to_end

UNITS = sorted((Path(gtfs.__file__).parents[1] / "contrib" / "systemd").rglob("*seed.service"))


def ended_with(ends_s: float, save: Callable[[], Awaitable[None]]) -> tuple[list[int], float]:
    """With what codes the process was left, and when it was over, where all has ended after so long."""
    left: list[int] = []

    async def play() -> float:
        ended = trio.Event()

        async def end() -> None:
            await trio.sleep(ends_s)
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            await see_to_end(ended, lambda: ["hangs"], save, left.append)
            over_s = trio.current_time()
            nursery.cancel_scope.cancel()
        return over_s

    over_s = trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    return left, over_s


async def saves() -> None:
    await trio.sleep(1)


def test_an_end_that_goes_well_is_waited_for() -> None:
    assert ended_with(END_S - 1, saves) == ([], END_S - 1)


@pytest.mark.warns
@pytest.mark.parametrize(("save", "takes_s"), [(saves, 1), (trio.sleep_forever, SAVE_S)])
def test_what_hangs_is_named_and_the_process_left_with_a_failure(
    caplog: pytest.LogCaptureFixture, save: Callable[[], Awaitable[None]], takes_s: float
) -> None:
    assert ended_with(10 * END_S, save) == ([7], END_S + takes_s)
    assert "hangs: not ended after 90 s" in caplog.text


def test_the_units_wait_for_it() -> None:
    assert UNITS
    for unit in UNITS:
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[method-assign, assignment]
        parser.read(unit)
        assert float(parser["Service"]["TimeoutStopSec"]) > END_S + SAVE_S
