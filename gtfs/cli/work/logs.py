# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a node's process writes its log: a file in the background, the journal below a service manager, else stderr.

Main thread, but that any thread may log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Final

from gtfs.events import EVENTS
from gtfs.mount.daemon import write_to

_OWN_BYTES: Final = 4 << 20  # of a log that nobody else rotates; the one before is kept, too
_PRIORITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))  # sd-daemon(3)


class _JournalFormatter(logging.Formatter):
    """Lines with their priority in front, and without a time, which the journal has."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def open_log(file: Path | None, *descriptors: int, own: bool = False) -> None:
    """Write to a file from now on, whatever these descriptors wrote to, and say what `gtfs.events` has.

    ``own``: nobody else rotates it. Without a file it goes on where it goes, and events are said if that is the
    journal. Raises OSError where the file cannot be written.
    """
    if file is not None:
        write_to(file, *descriptors)
    to_journal = file is None and _is_journal()
    if file is not None or to_journal:
        logging.getLogger(EVENTS).setLevel(logging.INFO)
    for handler in logging.getLogger().handlers:
        if to_journal:
            handler.setFormatter(_JournalFormatter("%(name)s: %(message)s"))
        if file is not None and own:
            handler.addFilter(_Rotation(file, descriptors))


class _Rotation(logging.Filter):
    """Before a line: begins anew where the file has grown too long; the one before is kept."""

    def __init__(self, file: Path, descriptors: tuple[int, ...]) -> None:
        super().__init__()
        self._file = file
        self._before = file.with_name(file.name + ".1")
        self._descriptors = descriptors

    def filter(self, record: logging.LogRecord) -> bool:
        with contextlib.suppress(OSError):  # a full disk, or a directory that has gone: it goes on as it is
            if os.fstat(self._descriptors[-1]).st_size > _OWN_BYTES:
                self._file.replace(self._before)
                write_to(self._file, *self._descriptors)
        return True


def _is_journal() -> bool:
    """Whether standard error is the journal's socket, as the service manager says (systemd.exec(5))."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
