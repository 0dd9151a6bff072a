# SPDX-License-Identifier: GPL-3.0-or-later
"""When the accepted catalogues that are kept were signed: the history of publishes that a node knows. Any thread.

Nothing is verified: what lies in the store was accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gtfs.trust.stanza import BadStanza, read_time

_HEAD_BYTES: Final = 8192  # the date stands before the lists
_DATE: Final = re.compile(rb"^Date: ([^\r\n]+)", re.MULTILINE)


class PublishDates:
    """Remembers what it read: a version never changes. Any thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._dates: dict[int, int] = {}

    def of(self, versions: Iterable[int]) -> dict[int, int]:
        """Seconds since 1970 by version, ascending; one that cannot be read is missing."""
        wanted, known = sorted(versions), self._dates  # which another thread replaces meanwhile, and nobody changes
        found = {version: known[version] if version in known else self._read(version) for version in wanted}
        self._dates = dates = {version: date_s for version, date_s in found.items() if date_s is not None}
        return dict(dates)

    def _read(self, version: int) -> int | None:
        try:
            with (self._directory / f"{version}.asc").open("rb") as file:
                found = _DATE.search(file.read(_HEAD_BYTES))
        except OSError:
            return None
        try:
            return None if found is None else read_time(found[1].decode("ascii", "replace").strip())
        except BadStanza:
            return None
