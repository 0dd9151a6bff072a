# SPDX-License-Identifier: GPL-3.0-or-later
"""The board of pieces alone, without libtorrent."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from waiting import WAIT_S

from gtfs.swarm.pieces import AHEAD, IN_WINDOW, NOW, UNWANTED, Board, SessionClosed, SwarmError, Window

pytestmark = pytest.mark.trio


@pytest.fixture
def calls():
    return []


@pytest.fixture
def board(calls):
    return Board(10, lambda piece, priority: calls.append((piece, priority)))


async def test_the_highest_want_counts_and_the_last_to_leave_resets_it(board, calls):
    with board.wanting([3], IN_WINDOW):
        with board.wanting([3], NOW):
            board.want([3], AHEAD)
        board.unwant([3], AHEAD)
    assert [priority for _, priority in calls] == [IN_WINDOW, NOW, NOW, AHEAD, IN_WINDOW, UNWANTED]
    assert not board.is_hungry()


async def test_a_cancelled_wait_takes_its_want_back(board, calls):
    with trio.move_on_after(0.01):
        with board.wanting([1, 2], NOW):
            await board.wait_held(1)
    assert calls[-2:] == [(1, 0), (2, 0)]
    assert board.priorities() == [0] * 10


async def test_finishing_wakes_all_who_wait(board, nursery):
    for _ in range(3):
        nursery.start_soon(board.wait_held, 4)
    await trio.testing.wait_all_tasks_blocked()
    assert board.is_waited_for(4)
    board.finish(4)
    with trio.fail_after(WAIT_S):
        await board.wait_held(4)
    assert not board.is_waited_for(4)


async def test_failure_ends_waits_now_and_later(board):
    async def wait(condition) -> None:
        with pytest.raises(SessionClosed):
            await condition()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, lambda: board.wait_held(4))
        nursery.start_soon(wait, board.wait_change)
        await trio.testing.wait_all_tasks_blocked()
        board.fail(SessionClosed("gone"))
        board.fail(SwarmError("later reasons do not count"))
    await wait(lambda: board.wait_held(5))


async def test_a_new_state_wakes_those_it_satisfies_and_sets_priorities_of_what_was_lost(board, calls, nursery):
    board.finish(2)
    board.want([2], NOW)
    assert calls == []
    nursery.start_soon(board.wait_held, 7)
    await trio.testing.wait_all_tasks_blocked()
    board.replace(bytes(1 if piece == 7 else 0 for piece in range(10)))
    assert calls == [(2, NOW)]
    assert board.count_here() == 1
    assert board.missing() == 0
    assert board.missing(7) == 8
    with pytest.raises(SwarmError):
        board.replace(b"\0")


async def test_nothing_is_asked_of_a_dead_board(board, calls):
    with board.wanting([1], NOW):
        board.fail(SessionClosed("gone"))
    assert calls == [(1, NOW)]


async def test_a_window_slides_over_what_is_missing(board):
    window = Window(board, 3)
    for piece in (0, 2):
        board.finish(piece)
    assert window.slide() and board.in_window() == [1, 3, 4]
    board.finish(3)
    assert window.slide() and board.in_window() == [1, 4, 5]
    window.close()
    assert board.in_window() == []
    for piece in range(10):
        board.finish(piece)
    assert not Window(board, 3).slide()
