# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a test waits for what comes in any case, and how it waits for what nobody reports.

There is one such time, and it is no measure of anything: a test that is right never waits for long, and one that hangs
says where. pytest prints the stack of a test that takes four times as long, and ends (setup.cfg).
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import TypeVar

WAIT_S = 300  # a loaded machine is slow

_T = TypeVar("_T")


def wait_for(condition: Callable[[], _T], what: str | Callable[[], str], timeout_s: float = WAIT_S) -> _T:
    """The first true value of ``condition``; fails the test when there is none for a long time."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"this did not happen: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)
    return found


def wait_readable(file: int, what: str) -> None:
    """Return when the descriptor has something to read, or its end."""
    assert select.select([file], [], [], WAIT_S)[0], f"this did not happen: {what}"


def read_terminal(ours: int) -> bytes:
    """What is still said at a terminal, until its other end is closed: unread, a few KiB make whoever writes wait."""
    said = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # the other end is closed
            return said
        if not more:
            return said
        said += more
