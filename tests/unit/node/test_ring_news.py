# SPDX-License-Identifier: GPL-3.0-or-later
"""A followed ring is looked at less and less often as long as it cannot be had, and what hinders is said once."""

from __future__ import annotations

import errno
import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from gtfs.node import ringnews
from gtfs.node.ringnews import RingNews


class Follower:
    """Whose looks fail until ``is_well``, by raising ``error`` or without."""

    def __init__(self, error: OSError | None = None) -> None:
        self.looks: list[float] = []
        self.is_well = False
        self.has_failed = False
        self.error = error

    def look(self, _state: object) -> bool:
        self.looks.append(trio.current_time())
        self.has_failed = not self.is_well
        if self.has_failed and self.error is not None:
            raise self.error
        return False


class Writing:
    """That needs no thread."""

    async def run(self, work: Any, *args: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return work(*args)


@pytest.mark.warns
@pytest.mark.parametrize("error", [None, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_ring_that_cannot_be_had_is_looked_at_less_and_less_often_until_somebody_says_that_it_may_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: OSError | None
) -> None:
    follower = Follower(error)
    monkeypatch.setattr(ringnews, "RingFollower", lambda: follower)
    state: Any = SimpleNamespace(config=SimpleNamespace(get=lambda _key: "/srv/keyring.git"))
    writing: Any = Writing()

    async def main() -> None:
        news = RingNews(state, writing, lambda: None)

        def rests() -> list[float]:
            return [later - earlier for earlier, later in zip(follower.looks, follower.looks[1:], strict=False)]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(news.watch_task)
            await trio.sleep(200)
            assert rests() == pytest.approx([5, 10, 20, 40, 60, 60])
            news.look_soon()
            await trio.sleep(14)
            assert rests()[7:] == pytest.approx([5])
            follower.is_well = True
            news.look_soon()
            await trio.sleep(11)
            assert rests()[-2:] == pytest.approx([5, 5])
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [r.levelno for r in caplog.records] == ([] if error is None else [logging.WARNING])
