# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory the processes of a program hold together, at most: PSS, so that what they share counts once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_REST_S = 0.1
_SHARE = 0.02  # of a processor, at most: what is looked at is timed, too, and the kernel goes through all its pages


class Memory:
    """The most that a process and its descendants hold together, looked at in a thread of its own."""

    def __init__(self, pid: int) -> None:
        self.peak = 0  # bytes of PSS
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        rest_s = _REST_S
        while not self._over.wait(rest_s):
            before_s = time.thread_time()
            self.peak = max(self.peak, sum(_pss(pid) for pid in _family(self._pid)))
            rest_s = max(_REST_S, (time.thread_time() - before_s) / _SHARE)


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _family(int(child))


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0
