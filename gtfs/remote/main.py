# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry of ``git-remote-gtfs``: what must be so before anything else is imported, then `helper`."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from gtfs.cli.main import INTERRUPTED, open_standard_files


def _end(number: int, frame: FrameType | None) -> None:
    import os

    os._exit(INTERRUPTED)  # nothing has begun, and imports print a traceback


def main() -> None:
    """The console script; git runs it with the name of a remote and an address."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    open_standard_files()
    from gtfs.remote.helper import run

    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run(sys.argv))


if __name__ == "__main__":
    main()
