# SPDX-License-Identifier: GPL-3.0-or-later
"""What was refused, kept with the reason until the space is wanted (design.md §7, §13). Any thread."""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.ids import ObjectId
from gtfs.pack.limits import GIB

log = logging.getLogger(__name__)

REASON_SUFFIX = ".reason"
_OURS: Final = re.compile(r"([0-9]{20})-[0-9a-f]{40}(?:[0-9a-f]{24})?\.pack\Z")  # when it came, in ns


class Refused(NamedTuple):
    """A file in quarantine."""

    path: Path
    reason: str
    time_s: int


class Quarantine:
    """The directory ``quarantine/`` of a node, the oldest dropped when it grows over ``limit_bytes``.

    What somebody else put there is neither shown nor dropped.
    """

    def __init__(self, directory: Path, limit_bytes: int = GIB) -> None:
        self.directory = directory
        self._limit_bytes = limit_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, path: Path, oid: ObjectId, reason: str) -> Path:
        """Move the file here with its reason; raises OSError."""
        log.info("refused %s: %s", path.name, reason)
        place = self.directory / f"{time.time_ns():020d}-{oid.hex()}.pack"
        told = place.with_name(place.name + REASON_SUFFIX)
        try:
            told.write_text(reason + "\n", "utf-8", "backslashreplace")
            path.rename(place)
        except OSError:
            told.unlink(missing_ok=True)
            raise
        self._shrink()
        return place

    def refused(self) -> list[Refused]:
        """What is here, oldest first."""
        found = []
        for path, came in self._files():
            try:
                text = path.with_name(path.name + REASON_SUFFIX).read_text("utf-8", "replace").strip()
            except FileNotFoundError:
                text = "unknown"
            found.append(Refused(path, text, int(came) // 1_000_000_000))
        return found

    def _files(self) -> list[tuple[Path, str]]:
        """Ours, the oldest first, each with the digits of its time."""
        found = ((path, _OURS.match(path.name)) for path in self.directory.glob("*.pack"))
        return sorted((path, name[1]) for path, name in found if name)

    def _shrink(self) -> None:
        sizes: dict[Path, int] = {}
        for f, _ in self._files():
            with suppress(FileNotFoundError):  # another thread, or its owner, was faster
                sizes[f] = f.stat().st_size
        total = sum(sizes.values())
        for f in sizes:
            if total <= self._limit_bytes:
                return
            f.unlink(missing_ok=True)
            f.with_name(f.name + REASON_SUFFIX).unlink(missing_ok=True)
            total -= sizes[f]
