# SPDX-License-Identifier: GPL-3.0-or-later
"""The board of pieces alone, without libtorrent."""

from __future__ import annotations

import random

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


async def test_what_a_window_wants_comes_from_its_front_on_and_the_last_pieces_before_all_others():
    told = dict.fromkeys(range(200), UNWANTED)
    board = Board(200, told.__setitem__)
    window = Window(board, 100, span=8, first=range(198, 200))
    chance = random.Random(1)
    order: list[int] = []
    while window.slide():
        assert {p: told[p] for p in range(200) if not board.is_here(p)} == {
            p: priority for p, priority in enumerate(board.priorities()) if not board.is_here(p)
        }, "libtorrent was told of every change"
        wanted = [p for p in range(200) if not board.is_here(p) and told[p]]
        order.append(chance.choice([p for p in wanted if told[p] == max(told[q] for q in wanted)]))
        board.finish(order[-1])
    assert set(order[:2]) == {198, 199}
    assert max(abs(place - piece) for place, piece in enumerate(order[2:])) <= 8
    window.close()


async def test_the_order_is_right_again_when_pieces_are_lost():
    told: dict[int, int] = {}
    board = Board(40, told.__setitem__)
    window = Window(board, 40, span=2)
    for piece in range(30):
        window.slide()
        board.finish(piece)
    window.slide()
    board.replace(bytes(40))
    window.slide()
    assert [told[p] for p in range(40)] == board.priorities()
    assert told[0] == told[1] > told[2] == told[3] > told[4] == told[7] > told[8] == told[39] == IN_WINDOW


async def test_a_reader_and_what_another_rule_says_go_before_the_order_of_a_window():
    board = Board(40, lambda _piece, _priority: None)
    window = Window(board, 40, span=2)
    window.slide()
    board.grade({0: UNWANTED})
    with board.wanting([9], NOW):
        assert board.priorities()[0] == UNWANTED < board.priorities()[1] < board.priorities()[9] == NOW
    board.grade({})
    assert board.priorities()[0] == board.priorities()[1] > board.priorities()[9] == IN_WINDOW
