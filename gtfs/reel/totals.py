# SPDX-License-Identifier: GPL-3.0-or-later
"""How many packs the index knows in each stage, and their bytes, kept by SQLite as rows come, change and go: a status
must not cost what there is. Any thread.
"""

from __future__ import annotations

from typing import Final, Literal

from gtfs.reel.database import Database

PackStage = Literal["remote", "waiting", "refused", "verified", "unpacked"]

_COUNTED: Final = "SELECT state, count(*), coalesce(sum(size), 0) FROM packs GROUP BY state"


class Totals:
    """Counts of packs."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # An index that nobody may write can be older than the table.
        kept = db.row("SELECT 1 FROM sqlite_master WHERE name = 'totals'") is not None
        self._sql = "SELECT state, packs, bytes FROM totals WHERE packs" if kept else _COUNTED

    def packs(self) -> int:
        """How many packs are known."""
        return sum(packs for _, packs, _ in self._db.rows(self._sql))

    def bytes(self) -> int:
        """The size of all known packs together, local or not."""
        return sum(size for _, _, size in self._db.rows(self._sql))

    def by_stage(self) -> dict[PackStage, int]:
        """How many packs are in each stage; stages without any are left out."""
        return {stage: packs for stage, packs, _ in self._db.rows(self._sql)}

    def wrong(self) -> list[str]:
        """Where it is not what counting gives. Reads all rows."""
        differ = {stage for stage, *_ in set(self._db.rows(self._sql)) ^ set(self._db.rows(_COUNTED))}
        return [f"the number of {stage} packs, or of their bytes, is not right" for stage in sorted(differ)]
