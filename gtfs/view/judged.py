# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of written packs between their close and their batch, so that it is not found out again (design.md §9).

A pack that there is no room for is examined again, from its file, when it is let in. Trio loop only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gtfs.ids import ObjectId, PackDigest
from gtfs.ingest.examine import Examination
from gtfs.mount.tree import Judged
from gtfs.pack.limits import MIB

KEPT_BYTES: Final = 64 * MIB  # of all examinations together
_LARGEST: Final = 8 * MIB  # of one: what is larger would drive out many


@dataclass(eq=False)
class JudgedPack(Judged):
    """A pack that was accepted when it was closed; it is let in as what it was then, or examined from the start."""

    parents: tuple[ObjectId, ...]
    digest: PackDigest
    examination: Examination | None  # None: no room


class KeptExaminations:
    """The examinations of the packs that were judged last, as many as there is room for."""

    def __init__(self, room_bytes: int = KEPT_BYTES) -> None:
        self._room_bytes = room_bytes
        self._bytes: dict[JudgedPack, int] = {}  # in the order of their judgement
        self.held_bytes = 0

    def add(self, judged: JudgedPack) -> None:
        """Keep what was found out of a pack, at the cost of those before it."""
        assert judged.examination is not None
        size = judged.examination.held_bytes()
        if size > min(_LARGEST, self._room_bytes):
            judged.examination = None
            return
        self._bytes[judged] = size
        self.held_bytes += size
        while self.held_bytes > self._room_bytes:
            self.drop(next(iter(self._bytes)))

    def drop(self, judged: JudgedPack) -> None:
        """Forget it: the pack is let in, or goes another way."""
        self.held_bytes -= self._bytes.pop(judged, 0)
        judged.examination = None
