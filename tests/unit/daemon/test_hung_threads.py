# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories on a dead disk take the threads of no other."""

from __future__ import annotations

import math
import threading

import pytest
import trio
import trio.testing

from gtfs.daemon.hungthreads import HANGS_S, replace_hung_task


@pytest.mark.warns
def test_where_all_threads_hang_others_come_in_their_place_until_they_answer(caplog: pytest.LogCaptureFixture) -> None:
    answers = threading.Event()

    async def main() -> None:
        threads = trio.to_thread.current_default_thread_limiter()
        usual = threads.total_tokens
        async with trio.open_nursery() as nursery:
            nursery.start_soon(replace_hung_task, threads)
            async with trio.open_nursery() as hanging:
                for _ in range(int(usual)):
                    hanging.start_soon(trio.to_thread.run_sync, answers.wait)
                await trio.testing.wait_all_tasks_blocked()
                began_s = trio.current_time()
                try:
                    with trio.fail_after(1000 * HANGS_S):
                        await trio.to_thread.run_sync(int)
                    assert trio.current_time() >= began_s + HANGS_S and threads.total_tokens == 2 * usual
                finally:
                    answers.set()
            await trio.sleep(HANGS_S)
            assert threads.total_tokens == usual
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.02))
    assert caplog.text.count("40 threads hung") == 1


def test_threads_that_are_merely_slow_are_left_to_be_so_few() -> None:
    answers = [threading.Event() for _ in range(6)]
    tokens: list[float] = []
    clock = trio.testing.MockClock(autojump_threshold=0)

    async def main() -> None:
        threads = trio.to_thread.current_default_thread_limiter()
        threads.total_tokens = 2

        async def work(answer: threading.Event, done: trio.Event) -> None:
            await trio.to_thread.run_sync(answer.wait)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(replace_hung_task, threads)
            works = [(answer, trio.Event()) for answer in answers]
            for each in works:
                nursery.start_soon(work, *each)
                await trio.testing.wait_all_tasks_blocked()
            for answer, done in works:
                await trio.sleep(HANGS_S * 0.6)
                tokens.append(threads.total_tokens)
                clock.autojump_threshold = math.inf  # the thread has all the time that it needs
                answer.set()
                await done.wait()
                clock.autojump_threshold = 0
            nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)
    assert tokens == [2] * 6
