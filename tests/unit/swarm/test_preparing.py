# SPDX-License-Identifier: GPL-3.0-or-later
"""A torrent whose question libtorrent does not answer is not out for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from gtfs.metainfo import BadMetainfo
from gtfs.swarm.pieces import SessionClosed, SwarmError, SwarmTimeout
from gtfs.swarm.preparing import LONGEST_S, REST_S, prepare
from gtfs.swarm.tally import Tally

UNANSWERED = SwarmTimeout("a.reel: libtorrent did not answer (status) within 30 s")


class Asked:
    """A torrent whose questions come to these ends, one after the other."""

    def __init__(self, *ends: Exception | None) -> None:
        self.spec = SimpleNamespace(complete=False, file_name="a.reel")
        self.failure: Exception | None = None
        self.tally = Tally()
        self.board = SimpleNamespace(check=self._check)
        self.questions = SimpleNamespace(learn_pieces=self._learn_pieces)
        was_checked = trio.Event()
        was_checked.set()
        self.milestones = SimpleNamespace(was_checked=was_checked)
        self.is_ready = False
        self.tried_s: list[float] = []
        self.troubles: list[str | None] = []
        self._ends = list(ends)

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def _learn_pieces(self) -> None:
        self.tried_s.append(trio.current_time())
        self.troubles.append(self.tally.statistics.trouble)
        end = self._ends.pop(0)
        if end is not None:
            raise end

    async def make_ready(self, _hashes: tuple[bytes, ...]) -> None:
        self.is_ready = True


def run(asked: Any) -> None:
    trio.run(prepare, asked, (), None, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.warns
@pytest.mark.parametrize("error", [UNANSWERED, SwarmError("a.reel: not moved"), OSError("a failing disk")])
def test_it_is_asked_again_later_and_later_and_told_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked(*[error] * 9, None)
    run(asked)
    assert asked.is_ready
    rests_s = [min(REST_S * 2**n, LONGEST_S) for n in range(9)]
    assert asked.tried_s == [pytest.approx(asked.tried_s[0] + sum(rests_s[:n])) for n in range(10)]
    assert asked.troubles == [None] + [str(error)] * 9
    assert asked.tally.statistics.trouble is None
    assert len(caplog.records) == 1


@pytest.mark.warns
def test_one_that_was_taken_out_meanwhile_is_asked_nothing_more() -> None:
    asked: Any = Asked(UNANSWERED)

    async def take_out() -> None:
        await trio.sleep(1)
        asked.failure = SessionClosed("it was taken out")

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_out)
            with pytest.raises(SessionClosed):
                await prepare(asked, (), trio.CapacityLimiter(1))

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_disk_that_fails_one_that_was_taken_out_is_no_error_of_the_session() -> None:
    asked: Any = Asked()
    taken_out = SessionClosed("it was taken out")

    async def fail() -> None:
        asked.failure = taken_out
        raise OSError("a failing disk")

    asked.questions.learn_pieces = fail
    with pytest.raises(SessionClosed) as found:
        run(asked)
    assert found.value is taken_out


def test_metadata_of_another_file_are_for_ever() -> None:
    with pytest.raises(BadMetainfo):
        run(Asked(BadMetainfo("another size")))
