# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
from typing import cast

import pytest
import trio
import trio.testing

from gtfs.view.news import News
from gtfs.view.writing import Writing


def quiet() -> News:
    return cast(News, None)


@pytest.mark.trio
async def test_writers_come_one_after_the_other_each_in_a_thread() -> None:
    writing, inside, most = Writing(quiet()), [0], [0]

    def write(number: int) -> tuple[int, bool]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        inside[0] -= 1
        return number, threading.current_thread() is threading.main_thread()

    found = []

    async def task(number: int) -> None:
        found.append(await writing.run(write, number))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(task, number)
    assert sorted(found) == [(number, False) for number in range(20)] and most == [1]


@pytest.mark.trio
async def test_nobody_writes_in_the_turn_of_another() -> None:
    writing, done = Writing(quiet()), []
    async with trio.open_nursery() as nursery, writing.turn():
        nursery.start_soon(writing.run, done.append, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert not done
    assert done == [1]
