# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory the processes of a program hold together, at most: PSS, so that what they share counts once; and
looks at anything that is being timed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_REST_S = 0.1
_SHARE = 0.02  # of a processor, at most: what is looked at is timed, too


class Looks:
    """Calls ``look`` again and again in a thread of its own, which takes next to nothing from what is looked at."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        rest_s = _REST_S
        while not self._over.wait(rest_s):
            before_s = time.thread_time()
            self._look()
            rest_s = max(_REST_S, (time.thread_time() - before_s) / _SHARE)


class Memory:
    """The most that a process and its descendants hold together: the kernel goes through all their pages."""

    def __init__(self, pid: int) -> None:
        self.peak = 0  # bytes of PSS
        self._pid = pid
        self._looks = Looks(self._look)

    def __enter__(self) -> Memory:
        self._looks.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._looks.__exit__()

    def _look(self) -> None:
        self.peak = max(self.peak, sum(_pss(pid) for pid in _family(self._pid)))


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
