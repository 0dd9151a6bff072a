# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands show: progress on a terminal, one line for a known error, and a calm end on Ctrl-C. Main thread."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import logging
import os
import shutil
import signal
import sys
import textwrap
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from gtfs.cli.main import INTERRUPTED
from gtfs.events import events

__all__ = ["INTERRUPTED", "Rate", "bar", "complain", "os_error_text", "refusal_text", "say", "size_text", "start_log"]


class Show(Protocol):
    """What `bar` gives: how far (``total`` 0: nobody knows), words beside it, and what is done if that changes."""

    def __call__(self, done: float, total: float, words: str, now: str = ..., /) -> None: ...


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
def bar(what: str) -> Iterator[Show]:
    """A progress bar on stderr from the first call on, gone at the end; nothing where stderr is no terminal.

    What is for stdout waits until it is gone.
    """
    with contextlib.ExitStack() as stack:
        drawn: Show | None = None

        def show(done: float, total: float, words: str, now: str = what) -> None:
            nonlocal drawn
            if drawn is None:
                if not sys.stderr.isatty():
                    return
                from gtfs.cli.progress import draw  # its library takes longer to load than many a command to run

                drawn = stack.enter_context(draw(what))
            drawn(done, total, words, now)

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


def print_any_name() -> None:
    """Let output carry names that are no text in this locale: as the bytes that they are, and else as ``?``."""

    def replace(error: UnicodeError) -> tuple[bytes, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        part = error.object[error.start : error.end]
        return b"".join(bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else b"?" for c in part), error.end

    codecs.register_error("gtfs.names", replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="gtfs.names")


def start_log(verbose: int) -> None:
    """Log to stderr: warnings, with -v what happens, with -vv everything of gtfs's own."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING, force=True)
    logging.getLogger("gtfs").setLevel(level)
    events.setLevel(level)
    # pyfuse3's word for an answer to a reader who was interrupted meanwhile: no error of anybody's.
    logging.getLogger("pyfuse3").addFilter(lambda r: "failed with No such file or directory" not in r.getMessage())


def say(text: str, indent: int = 0) -> None:
    """A line on stdout; on a terminal it is broken between words, and goes on ``indent`` columns to the right."""
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size().columns - 1, indent + 20)
        text = textwrap.fill(
            text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
    print(text, flush=True)


def say_json(found: object) -> None:
    """An answer on stdout as JSON."""
    print(json.dumps(found, indent=2, sort_keys=True), flush=True)


def os_error_text(error: OSError) -> str:
    """What the system said and about which file; where it names none, what was being done."""
    said = error.strerror or str(error)
    if error.filename is not None:
        return f"{said}: {os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename}"
    ours = [f for f in traceback.extract_tb(error.__traceback__) if "gtfs" in Path(f.filename).parts]
    return f"{said}, in {ours[-1].name}; gtfs -vv COMMAND shows where" if ours else said


def refusal_text(reason: str, why: dict[str, Any] | None) -> str:
    """Why something is not accepted, by which rule and for which object, and what a maintainer can do.

    ``why`` is `Reason.describe`; None where no rule but git, or a node that is older, gives the reason.
    """
    if why is None:
        return reason
    about = f"{why['rule']} {why['subject']}".rstrip() if why["subject"] not in reason else why["rule"]
    return f"{reason} [rule: {about}]" + (f"; {why['advice']}" if why["advice"] else "")


def is_memory_short(error: BaseException) -> bool:
    """Whether memory, or what may be used of it, did not suffice."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error))


def complain(text: str) -> None:
    """One line on stderr."""
    print(f"gtfs: {text}", file=sys.stderr)


def show_rewound(done: dict[str, Any], *, dry_run: bool) -> None:
    """What is held again, and what was set aside, or would be."""
    say(f"version {done['version']} {'would be' if dry_run else 'is'} held again, digest {done['digest']}")
    for file in done["files"]:
        say(f"{'would be set aside' if dry_run else 'aside'} {file}")


def note_faults(faults: dict[str, dict[str, Any]]) -> None:
    """One line on stderr for each kind of fault that packs carry."""
    for name, found in faults.items():
        count = f"{found['objects']} object{'s' if found['objects'] != 1 else ''}"
        print(f"note: {name}: {count} with {found['what']}, {found['first']} first", file=sys.stderr)
