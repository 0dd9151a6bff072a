# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry of ``gtfs`` and ``mount.fuse.gtfs``: what must be so before anything else is imported, then `commands`.

It imports next to nothing itself: the rest takes most of a second, in which Ctrl-C may come already.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

from gtfs.cli.loading import loading

INTERRUPTED = 130


def open_standard_files() -> None:
    """/dev/null in the place of descriptors 0, 1 and 2 that are closed, as some services and cron jobs start us.

    Otherwise the next file opened, the FUSE device or an index, would be standard input, or be written to by a log.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    _name_output()


class _Output(io.FileIO):
    """Standard output: an error names it, and what follows is dropped, as Python would try again at its end."""

    _is_lost = False

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        if self._is_lost:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            self._is_lost = True
            error.filename = "standard output"
            raise


def _name_output() -> None:
    out = sys.stdout
    raw = _Output(1, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=out.encoding, errors=out.errors, line_buffering=out.isatty()
    )


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)  # nothing has begun, or all is done: imports and the interpreter's end print a traceback


def end_at_once_when_interrupted(*, at_once: bool) -> None:
    """What Ctrl-C does from now on: end the process on the spot, or raise `KeyboardInterrupt`, as work wants it.

    Nothing changes where it is ignored, as for a shell's background job.
    """
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end):
        signal.signal(signal.SIGINT, _end if at_once else signal.default_int_handler)


def run_program(load: Callable[[], Callable[[Sequence[str]], int]]) -> NoReturn:
    """Be a console script: ``load`` imports what it is, and gives the function that runs it with an exit code."""
    end_at_once_when_interrupted(at_once=True)
    open_standard_files()
    with loading():
        run = load()
    end_at_once_when_interrupted(at_once=False)
    code = run(sys.argv)
    end_at_once_when_interrupted(at_once=True)
    sys.exit(code)


def _commands() -> Callable[[Sequence[str]], int]:
    from gtfs.cli.commands import run

    return run


def main() -> None:
    """The console script."""
    run_program(_commands)


if __name__ == "__main__":
    main()
