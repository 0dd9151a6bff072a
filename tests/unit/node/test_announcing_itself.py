# SPDX-License-Identifier: GPL-3.0-or-later
"""When a node announces what was published: at once what it signed, later what somebody typed or what failed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.lowlevel
import trio.testing

from gtfs.errors import GtfsError
from gtfs.ids import SHA1
from gtfs.node import publishing
from gtfs.node.publishing import Publishing
from gtfs.repo.repository import create_repository
from gtfs.state.announce import Announced
from gtfs.state.config import Gathering
from gtfs.state.outstanding import Outstanding
from gtfs.state.state import State
from gtfs.swarm.feeds import FeedPoller
from gtfs.view.news import News
from gtfs.view.writing import Writing

QUIET_S = Gathering().quiet_s


class Quiet(Publishing):
    """Publishes nothing."""

    def _is_due(self) -> bool:
        return False


async def tell_nobody() -> None:
    pass


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(create_repository(tmp_path / "r.git", SHA1)) as opened:
        yield opened


def announced_after_s(
    state: State, monkeypatch: pytest.MonkeyPatch, due: list[float | Exception | None], *, signed: bool
) -> list[float]:
    """Seconds between the tries of a node, which hears one after the other when something is due, ``due``."""
    tried_s: list[float] = []

    async def main() -> None:
        all_heard = trio.Event()
        answers = iter(due)

        def due_in_s(_layout: object) -> float | None:
            found = next(answers, None)
            if found is None:
                trio.from_thread.run_sync(all_heard.set)
            if isinstance(found, Exception):
                raise found
            return found

        def announce(*_args: object, **_more: object) -> tuple[list[Announced], Outstanding | None]:
            tried_s.append(trio.from_thread.run_sync(trio.current_time))
            return [Announced("v1", "c" * 40, False)], None

        monkeypatch.setattr(publishing, "due_in_s", due_in_s)
        monkeypatch.setattr(publishing, "announce", announce)
        node = Quiet(state, Writing(News(state.index)), cast(FeedPoller, None), tell_nobody, None)
        node._has_signed = signed
        async with trio.open_nursery() as nursery:
            tried_s.append(trio.current_time())
            nursery.start_soon(node.run_task)
            await all_heard.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return [b - a for a, b in itertools.pairwise(tried_s)]


def test_what_the_node_signed_it_announces_at_once(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    assert announced_after_s(state, monkeypatch, [25.0, None], signed=True) == [pytest.approx(QUIET_S)]


def test_what_somebody_typed_is_left_to_him_for_a_while(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    found = announced_after_s(state, monkeypatch, [25.0, 0.0, None], signed=False)
    assert found == [pytest.approx(QUIET_S + 25)]


def test_what_another_process_is_at_is_looked_at_again_and_not_at_once(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = announced_after_s(state, monkeypatch, [0.0, 0.0, 0.0, 0.0, None], signed=False)
    assert found == [pytest.approx(QUIET_S), pytest.approx(30)]


def test_a_node_goes_on_when_what_is_due_cannot_be_read(
    state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = announced_after_s(state, monkeypatch, [GtfsError("damaged"), 0.0, None], signed=False)
    assert found == [pytest.approx(QUIET_S + publishing._AGAIN_S)]
    assert "not announced: damaged" in caplog.text
    caplog.clear()
