# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands show: progress on a terminal, one line for a known error, and a calm end on Ctrl-C. Main thread."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

INTERRUPTED = 130


def size_text(count: int) -> str:
    """Bytes as people read them, in powers of 1024."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


class Rate:
    """Calls with a growing count give how much it grows each second, over the last few."""

    def __init__(self, over_s: float = 5.0) -> None:
        self._over_s = over_s
        self._seen: deque[tuple[float, float]] = deque()

    def __call__(self, count: float) -> float:
        now_s = time.monotonic()
        self._seen.append((now_s, count))
        while len(self._seen) > 2 and self._seen[1][0] < now_s - self._over_s:
            self._seen.popleft()
        first_s, first = self._seen[0]
        return max(0.0, (count - first) / (now_s - first_s)) if now_s > first_s else 0.0


@contextlib.contextmanager
def bar(what: str) -> Iterator[Callable[[float, float, str], None]]:
    """A progress bar on stderr, gone at the end; nothing where stderr is no terminal.

    Gives a function of (done, total, words beside it).
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[words]}"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(what, total=None, words="")

        def show(done: float, total: float, words: str) -> None:
            progress.update(task, completed=done, total=total or None, words=words)

        yield show


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C makes the given function true, so that work ends at a whole pack; a second one ends at once."""
    asked = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print("\ngtfs: stopping after the pack at hand (again: at once)", file=sys.stderr)

    old = signal.signal(signal.SIGINT, on_signal)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, old)


def start_log(verbose: int) -> None:
    """Log to stderr: warnings, with -v what happens, with -vv everything of gtfs's own."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING, force=True)
    logging.getLogger("gtfs").setLevel(level)
    # pyfuse3's word for an answer to a reader who was interrupted meanwhile: no error of anybody's.
    logging.getLogger("pyfuse3").addFilter(lambda r: "failed with No such file or directory" not in r.getMessage())


def complain(text: str) -> None:
    """One line on stderr."""
    print(f"gtfs: {text}", file=sys.stderr)


def note_faults(faults: dict[str, dict[str, Any]]) -> None:
    """One line on stderr for each kind of fault that packs carry."""
    for name, found in faults.items():
        count = f"{found['objects']} object{'s' if found['objects'] != 1 else ''}"
        click.echo(f"note: {name}: {count} with {found['what']}, {found['first']} first", err=True)
