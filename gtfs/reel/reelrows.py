# SPDX-License-Identifier: GPL-3.0-or-later
"""The index's reels: which are known, and how much of each is here. Any thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from gtfs.ids import InfoHash, ReelName
from gtfs.reel.database import Database
from gtfs.reel.table import CorruptReel
from gtfs.reel.totals import PackStage

ReelStage = Literal["remote", "partial", "complete", "retired"]

_REELS: Final = "SELECT id, name, infohash, size, rows, version, state FROM reels"


class ReelConflict(CorruptReel):
    """A reel's name came with another infohash or size than it had: one of the two is a lie."""


class ReelRow(NamedTuple):
    """A known reel; ``version`` is the catalogue's that first listed it, 0 while unpublished."""

    id: int
    name: ReelName
    infohash: InfoHash
    size: int
    rows: int
    version: int
    stage: ReelStage

    @property
    def is_whole(self) -> bool:
        """Whether every byte of it is here; a retired reel was whole before."""
        return self.stage in ("complete", "retired")


class ReelRows:
    """One row for each known reel."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self) -> list[ReelRow]:
        """All reels; their order tells nothing once some were dropped: the catalogue has one."""
        return [ReelRow._make(row) for row in self._db.rows(f"{_REELS} ORDER BY id")]

    def get(self, reel_id: int) -> ReelRow | None:
        """The reel with this id."""
        row = self._db.row(f"{_REELS} WHERE id = ?", (reel_id,))
        return None if row is None else ReelRow._make(row)

    def by_name(self, name: ReelName) -> ReelRow | None:
        """The reel with this name."""
        row = self._db.row(f"{_REELS} WHERE name = ?", (name,))
        return None if row is None else ReelRow._make(row)

    def put(self, name: ReelName, infohash: InfoHash, size: int, rows: int, version: int, stage: ReelStage) -> int:
        """Make a reel known and return its id. A known one keeps its version unless that was 0, and its stage;
        raises `ReelConflict` if it was known with another infohash, size or row count."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO reels (name, infohash, size, rows, version, state) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET version = excluded.version WHERE version = 0",
                (name, infohash, size, rows, version, stage),
            )
            reel = self.by_name(name)
            assert reel is not None
            if (reel.infohash, reel.size, reel.rows) != (infohash, size, rows):
                raise ReelConflict(f"the reel {name} is listed with another infohash, size or number of packs")
            return reel.id

    def holds(self, reel_id: int | None) -> bool:
        """Whether any pack has its place in this reel; None is the open reel."""
        sql = "SELECT 1 FROM packs WHERE reel IS ? AND offset IS NOT NULL LIMIT 1"
        return self._db.row(sql, (reel_id,)) is not None

    def holds_all(self, reel: ReelRow) -> bool:
        """Whether every pack of this reel has its place in it."""
        return bool(self._db.row("SELECT count(*) = ? FROM packs WHERE reel = ?", (reel.rows, reel.id))[0])

    def holds_any(self, reel_id: int, stages: Sequence[PackStage]) -> bool:
        """Whether any pack in one of these stages, of which there should be few, has its place in this reel."""
        # The plus: by the index of stages, as all rows of a reel are many.
        sql = f"SELECT 1 FROM packs WHERE state IN ({','.join('?' * len(stages))}) AND +reel = ? LIMIT 1"  # noqa: S608
        return self._db.row(sql, (*stages, reel_id)) is not None

    def set_stage(self, reel_ids: Iterable[int], stage: ReelStage) -> None:
        """Say how much of these reels is here, or that they are retired."""
        with self._db.transaction() as db:
            db.executemany("UPDATE reels SET state = ? WHERE id = ?", ((stage, id_) for id_ in reel_ids))

    def set_version(self, reel_ids: Iterable[int], version: int) -> None:
        """Say that a catalogue might have listed these, which were sealed for it or for one before."""
        with self._db.transaction() as db:
            db.executemany("UPDATE reels SET version = ? WHERE id = ?", ((version, id_) for id_ in reel_ids))

    def drop(self, names: Iterable[ReelName]) -> None:
        """Forget reels in which no pack has its place; a later one may get the id."""
        with self._db.transaction() as db:
            db.executemany("DELETE FROM reels WHERE name = ?", ((name,) for name in names))
