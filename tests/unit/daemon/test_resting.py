# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that have nothing to do give back what they have open, and none closes while that is looked at."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from waiting import WAIT_S

from gtfs.daemon.resting import Resting

pytestmark = pytest.mark.warns


class FakeNode:
    """Whose state is at ``rest`` as it is told."""

    def __init__(self, name: str, rest: Callable[[], bool]) -> None:
        self.state: Any = SimpleNamespace(rest=rest, repository=SimpleNamespace(path=Path(name)))


def nothing_of(nodes: list[Any]) -> Resting:
    return Resting(lambda: nodes)


def test_one_that_cannot_give_back_what_it_has_open_hinders_no_other_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rested: list[str] = []
    errors: list[Exception | None] = [*[OSError(errno.EIO, os.strerror(errno.EIO))] * 2, *[KeyError("x")] * 2]
    errors += [KeyError("y"), None, KeyError("y")]

    def bad() -> bool:
        rested.append("bad")
        if (error := errors.pop(0)) is not None:
            raise error
        return False

    def good() -> bool:
        rested.append("good")
        return False

    nodes: list[Any] = [FakeNode("bad", bad), FakeNode("good", good)]
    resting = nothing_of(nodes)
    for _ in range(7):
        resting.rest(nodes)
    assert rested == ["bad", "good"] * 7
    assert [(r.levelno, None if r.exc_info is None else str(r.exc_info[1])) for r in caplog.records] == [
        (logging.WARNING, None),
        *[(logging.ERROR, key) for key in ("'x'", "'y'", "'y'")],
    ]


@pytest.mark.trio
async def test_no_node_closes_while_it_is_looked_at_and_one_whose_disk_hangs_keeps_no_other_from_it() -> None:
    answers, is_at_it = threading.Event(), threading.Event()
    rested: list[str] = []

    def hangs() -> bool:
        is_at_it.set()
        assert answers.wait(WAIT_S)
        rested.append("hangs")
        return False

    def late() -> bool:
        rested.append("late")
        return False

    nodes: list[Any] = [FakeNode("hangs", hangs), FakeNode("late", late), FakeNode("stays", late)]
    resting = nothing_of(nodes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, resting.rest, nodes)
        assert await trio.to_thread.run_sync(is_at_it.wait, WAIT_S)
        with trio.fail_after(WAIT_S):
            await resting.leave(nodes[1])
        has_left: list[bool] = []

        async def leave() -> None:
            await resting.leave(nodes[0])
            has_left.append(rested[:1] == ["hangs"])

        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert has_left == []
        answers.set()
    assert has_left == [True]
    assert rested == ["hangs", "late"]  # of the one that stays: who has closed is not looked at
