# SPDX-License-Identifier: GPL-3.0-or-later
"""Resume data is kept of each torrent, whatever becomes of another's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio
import trio.testing

from gtfs.swarm.saving import SAVE_EVERY_S, SLOW_S, Saving


class Changed:
    """A torrent of which there is always more to keep."""

    def __init__(self, name: str, log: list[str], answers: trio.Event | None = None) -> None:
        self.name, self._log, self._answers = name, log, answers
        self.tally = SimpleNamespace(needs_saving=True)

    def is_ready(self) -> bool:
        return True

    async def save_resume(self) -> None:
        self._log.append(self.name)
        if self._answers is not None:
            await self._answers.wait()


def test_a_disk_that_does_not_answer_keeps_no_other_torrent_from_being_saved() -> None:
    log: list[str] = []

    async def main() -> None:
        answers = trio.Event()
        torrents: list[Any] = [Changed("dead", log, answers), Changed("good", log)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Saving(lambda: torrents).run_task)
            await trio.sleep(3 * SAVE_EVERY_S + SLOW_S + 1)
            assert log == ["dead", "good", "good", "good"] and SLOW_S < SAVE_EVERY_S
            answers.set()
            await trio.sleep(SAVE_EVERY_S)
            assert log[4:] == ["dead", "good"]
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
