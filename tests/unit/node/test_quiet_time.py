# SPDX-License-Identifier: GPL-3.0-or-later
"""When a node publishes by itself: after a quiet time, and again, later each time, after a failure."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing

from gtfs.errors import GtfsError
from gtfs.ids import SHA1
from gtfs.node import publishing
from gtfs.node.publishing import FIRST_S, Publishing, wait_quiet
from gtfs.repo.repository import create_repository
from gtfs.state.config import BadConfig, Gathering
from gtfs.state.outstanding import Outstanding, read_outstanding
from gtfs.state.publish import Published
from gtfs.state.state import State
from gtfs.swarm.feeds import FeedPoller
from gtfs.view.news import Count, News
from gtfs.view.writing import Writing

QUIET_S, MOST_S = Gathering()


def run(main: object, *args: object) -> object:
    """With a clock that jumps to whatever is waited for next."""
    return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def quiet_after(times: list[float], rested_s: float = math.inf) -> tuple[float, int]:
    """When the quiet time ends for moves at these times, and the number of moves that are known then."""

    async def main() -> tuple[float, int]:
        moves, start_s = Count(), trio.current_time()

        async def move_task() -> None:
            for at_s in times:
                await trio.sleep_until(start_s + at_s)
                moves.grow()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(move_task)
            seen = await wait_quiet(moves, 0, Gathering(), start_s + rested_s)
            ended_s = trio.current_time() - start_s
            nursery.cancel_scope.cancel()
        return ended_s, seen

    return run(main)  # type: ignore[return-value]


def test_a_move_is_published_once_nothing_has_moved_for_a_while() -> None:
    assert quiet_after([5]) == (pytest.approx(5 + QUIET_S), 1)


def test_a_burst_is_published_as_one() -> None:
    assert quiet_after([n * 0.9 * QUIET_S for n in range(5)]) == (pytest.approx(4 * 0.9 * QUIET_S + QUIET_S), 5)


def test_a_move_after_a_rest_hardly_waits_and_what_moves_with_it_is_in() -> None:
    assert quiet_after([5], rested_s=5) == (pytest.approx(5 + FIRST_S), 1)
    assert quiet_after([5, 5.1, 5.2, 6], rested_s=5) == (pytest.approx(5.2 + FIRST_S), 3)
    assert quiet_after([4.9], rested_s=5) == (pytest.approx(4.9 + FIRST_S), 1)


def test_in_a_burst_moves_wait_for_the_end_of_the_rest() -> None:
    burst = [n * 0.4 for n in range(100)]
    assert quiet_after(burst, rested_s=3.11) == (pytest.approx(3.11), 8)
    assert quiet_after([2, 3, 3.1, 3.2, 9], rested_s=3.11) == (pytest.approx(3.2 + FIRST_S), 4)
    assert quiet_after([1], rested_s=5) == (pytest.approx(1 + QUIET_S), 1)


def test_the_rest_after_a_publish_grows_with_what_it_took(state: State) -> None:
    node = Scripted(state, Writing(News(state.index)), [])
    rests = []
    for node._took_s in (0, 0.2, 0.5, 60):
        rests.append(node._rest_s(Gathering()))
    assert rests == [MOST_S / 4, MOST_S / 4, 5, MOST_S]


def test_a_setting_says_how_long_moves_are_gathered(state: State) -> None:
    assert state.config.gathering() == Gathering(2, 10)
    state.config.set("publishquiet", "0.5")
    state.config.set("publishmost", "30s")
    assert state.config.gathering() == Gathering(0.5, 30)
    state.config.set("publishmost", "soon")
    with pytest.raises(BadConfig, match="publishmost is soon: not a number of seconds"):
        state.config.gathering()


def test_moves_that_never_end_are_published_all_the_same() -> None:
    ended_s, seen = quiet_after([1 + n * 0.5 for n in range(1000)])
    assert ended_s == pytest.approx(1 + MOST_S)
    assert seen == pytest.approx(2 * MOST_S, abs=1)


class Scripted(Publishing):
    """Publishes nothing: ``ends`` says how each try ends, and then all is told."""

    def __init__(self, state: State, writing: Writing, ends: list[Exception | None]) -> None:
        nobody = cast(FeedPoller, None)  # is not asked where nothing is published
        super().__init__(state, writing, nobody, self._on, None)
        self.ends = ends
        self.tried_s: list[float] = []
        self.all_tried = trio.Event()

    async def _on(self) -> None:
        pass

    def _is_due(self) -> bool:
        return True

    async def publish(self, *, force: bool = False, jobs: int | None = None) -> Published:
        self.tried_s.append(trio.current_time())
        end = self.ends.pop(0)
        if not self.ends:
            self.all_tried.set()
        if end is not None:
            raise end
        return Published(1, False, (), 0)


def tries(state: State, ends: list[Exception | None]) -> list[float]:
    """Seconds between the tries of a node that starts where nothing moves."""

    async def main() -> list[float]:
        writing = Writing(News(state.index))
        scripted = Scripted(state, writing, ends)
        async with trio.open_nursery() as nursery:
            start_s = trio.current_time()
            nursery.start_soon(scripted.run_task)
            await scripted.all_tried.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        all_s = [start_s, *scripted.tried_s]
        return [b - a for a, b in itertools.pairwise(all_s)]

    return run(main)  # type: ignore[return-value]


@pytest.fixture
def state(tmp_path: Path):  # type: ignore[no-untyped-def]
    with State(create_repository(tmp_path / "r.git", SHA1)) as opened:
        yield opened


def test_what_failed_is_tried_again_later_each_time(state: State, caplog: pytest.LogCaptureFixture) -> None:
    found = tries(state, [GtfsError("no"), OSError(28, "full"), GtfsError("no"), None])
    assert found == [pytest.approx(s) for s in (QUIET_S, 30, 60, 120)]
    noted = read_outstanding(state.layout)
    assert noted is not None and noted.tries == 3 and noted.reason == "no"
    caplog.clear()  # it warned, as it should


def test_the_rest_after_a_failure_has_an_end() -> None:
    assert Outstanding(1, 1, 1, "").rest_s == 30
    assert Outstanding(1, 1, 10**6, "").rest_s == 3600
    assert math.isfinite(publishing._AGAIN_S)
