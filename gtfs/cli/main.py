# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry of ``gtfs`` and ``mount.fuse.gtfs``: what must be so before anything else is imported, then `commands`.

It imports next to nothing itself: the rest takes most of a second, in which Ctrl-C may come already.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

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


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)  # nothing has begun, and imports print a traceback


def main() -> None:
    """The console script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not of a shell's background job
        signal.signal(signal.SIGINT, _end)
    open_standard_files()
    from gtfs.cli.commands import run

    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run(sys.argv))


if __name__ == "__main__":
    main()
