# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import time

import pytest
import trio

from gtfs.mount import calls
from gtfs.mount.calls import Calls


def run(test):
    trio.run(test)


def test_brief_calls_stay_on_the_loop_and_long_ones_leave_it():
    async def test():
        some = Calls(2)
        here = threading.get_ident()
        assert await some.briefly(threading.get_ident) == here
        assert await some.in_thread(threading.get_ident) != here

    run(test)


def test_after_a_slow_call_all_go_to_threads_for_a_while(monkeypatch):
    async def test():
        some = Calls(2)
        here = threading.get_ident()
        await some.briefly(time.sleep, 2 * calls._SLOW_S)
        assert await some.briefly(threading.get_ident) != here
        monkeypatch.setattr(some, "_wary_until", 0.0)
        assert await some.briefly(threading.get_ident) == here

    run(test)


def test_an_error_passes_either_way():
    async def test():
        some = Calls(2)
        for how in (some.briefly, some.in_thread):
            with pytest.raises(FileNotFoundError):
                await how(open, "/nonexistent")

    run(test)
