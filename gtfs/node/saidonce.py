# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong is tried again and again, and logged once: until it is another thing, or over. Trio loop."""

from __future__ import annotations

import logging


class SaidOnce:
    """The warnings of one part of a node; ``what`` goes wrong is known by its words."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: dict[str, str] = {}

    def warn(self, what: str, error: object) -> None:
        """Log ``what: error``, unless that was the last thing said of it."""
        if self._last.get(what) != str(error):
            self._log.warning("%s: %s", what, error)
        self._last[what] = str(error)

    def fault(self, what: str, error: Exception) -> None:
        """The same of a fault of gtfs itself, with where it happened."""
        text = f"{type(error).__name__}: {error}"
        if self._last.get(what) != text:
            self._log.error("%s: a fault of gtfs", what, exc_info=error)
        self._last[what] = text

    def is_over(self, what: str) -> None:
        """It went well: the same error will be news."""
        self._last.pop(what, None)
