# SPDX-License-Identifier: GPL-3.0-or-later
"""The index's packs: what is known of each, and the place of its bytes. Any thread.

A pack's **place** is (reel, offset); reel None with an offset is the open reel; no offset, no bytes in any reel.
Rows follow the files and never run ahead of them: write and sync the bytes first (design.md §8).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from gtfs.ids import ObjectId, PackDigest
from gtfs.reel.database import Database
from gtfs.reel.ledger import History, Meta
from gtfs.reel.manyrows import run_with_rows
from gtfs.reel.order import Item, clamp_time_s
from gtfs.reel.totals import PackStage, Totals

_PACKS: Final = "SELECT row, oid, kind, time, size, digest, state, reel, offset, reason, first_seen FROM packs"
_RECENT_ROWS: Final = 4096  # look-ups that are kept; each is there by id and by number
_READ_ROWS: Final = 2000  # at once, of many
_SEALABLE: Final = "reel IS NULL AND offset IS NOT NULL AND state IN ('verified', 'unpacked')"
# Whether the bytes of an existing row of packs are certainly on this disk.
_IS_LOCAL: Final = (
    "(packs.offset IS NOT NULL AND coalesce("
    "(SELECT r.state FROM reels r WHERE r.id = packs.reel), 'complete') IN ('complete', 'retired'))"
)
_IS_HERE: Final = f"(packs.state = 'unpacked' OR {_IS_LOCAL})"  # or can be made again from git
_PUT_LOCAL: Final = f"""
    INSERT INTO packs (oid, kind, time, size, digest, state, offset, first_seen) %s
    ON CONFLICT (oid) DO UPDATE SET
        kind = excluded.kind, time = excluded.time, size = excluded.size, digest = excluded.digest,
        state = excluded.state, reason = NULL,
        reel = CASE WHEN excluded.offset IS NULL OR {_IS_LOCAL} THEN reel END,
        offset = CASE WHEN excluded.offset IS NULL OR {_IS_LOCAL} THEN offset ELSE excluded.offset END
"""
_PUT_REMOTE: Final = """
    INSERT INTO packs (oid, time, size, digest, state, reel, offset, first_seen) %s
    ON CONFLICT (oid) DO UPDATE SET
        reel = excluded.reel, offset = excluded.offset, size = excluded.size, digest = excluded.digest,
        state = CASE WHEN digest IS NOT excluded.digest AND state = 'refused' THEN 'remote' ELSE state END,
        reason = CASE WHEN digest IS NOT excluded.digest THEN NULL ELSE reason END
    WHERE CASE
        WHEN digest IS NOT NULL AND digest <> excluded.digest THEN state = 'refused'
        ELSE offset IS NULL OR (
            (SELECT state FROM reels WHERE id = excluded.reel) = 'complete'
            AND (SELECT state FROM reels WHERE id = packs.reel) <> 'complete')
    END
"""


class PackRow(NamedTuple):
    """A known pack. ``row`` is stable for life; ``kind`` is 1 (commit), 4 (tag) or None while never seen."""

    row: int
    oid: ObjectId
    kind: int | None
    time_s: int | None
    size: int
    digest: PackDigest | None
    stage: PackStage
    reel: int | None
    offset: int | None
    reason: str | None
    first_seen_s: int


# Of a listed pack: row, oid, size, time_s, stage, and of its bytes how many are here: all, or None where only the swarm
# can tell. A plain tuple, as listings ask for very many.
ListedPack = tuple[int, ObjectId, int, int, PackStage, int | None]


class LocalPack(NamedTuple):
    """A pack whose bytes were seen here; ``offset`` in the open reel, or None while they wait elsewhere."""

    oid: ObjectId
    kind: int
    time_s: int
    size: int
    digest: PackDigest
    offset: int | None
    parents: Sequence[ObjectId]
    stage: PackStage


class ReelPack(NamedTuple):
    """A pack as a reel's table has it."""

    oid: ObjectId
    size: int
    digest: PackDigest
    offset: int


class SeenPack(NamedTuple):
    """What a pack's own bytes say of it: kind, time, parents (a tag's target)."""

    oid: ObjectId
    kind: int
    time_s: int
    parents: Sequence[ObjectId]


class PackRows:
    """One row for each known commit pack."""

    def __init__(self, db: Database, history: History, meta: Meta) -> None:
        self._db = db
        self._history = history
        self._meta = meta
        self._totals = Totals(db)
        self._recent: tuple[int, dict[ObjectId | int, PackRow]] = (0, {})  # changes; rows by id and by number
        self._gone: deque[tuple[int, list[int]]] = deque()  # changes before, rows

    def get(self, oid: ObjectId) -> PackRow | None:
        """The row of a pack."""
        return self._recent_row(oid, "oid")

    def get_by_row(self, row: int) -> PackRow | None:
        """The pack with this row number."""
        return self._recent_row(row, "row")

    def _recent_row(self, key: ObjectId | int, column: str) -> PackRow | None:
        # One read of a file through the mount asks for the same row five times. Rows count only until the next
        # transaction of this process: there is one writer, and a read-only index keeps none.
        changes = self._db.changes
        if self._recent[0] != changes or len(self._recent[1]) > _RECENT_ROWS:
            self._recent = (changes, {})
        recent = self._recent
        if recent[0] == changes and not self._db.is_writing() and (found := recent[1].get(key)) is not None:
            return found
        row = self._db.row(f"{_PACKS} WHERE {column} = ?", (key,))
        if row is None:
            return None
        found = PackRow._make(row)
        if recent[0] == changes and not self._db.read_only and not self._db.is_writing():
            recent[1][found.oid] = recent[1][found.row] = found
        return found

    def get_many(self, oids: Iterable[ObjectId]) -> dict[ObjectId, PackRow]:
        """The rows of those that are known."""
        rows = self._db.rows_in(f"{_PACKS} WHERE oid IN (%s)", oids)
        return {row[1]: PackRow._make(row) for row in rows}

    def known(self, oids: Iterable[ObjectId]) -> set[ObjectId]:
        """Those of the ids that have a row, whatever its stage."""
        return {ObjectId(oid) for (oid,) in self._db.rows_in("SELECT oid FROM packs WHERE oid IN (%s)", oids)}

    def unpacked_of(self, oids: Iterable[ObjectId]) -> set[ObjectId]:
        """Those of the ids whose objects git has."""
        # The plus: by the ids, as nearly all packs are in this stage.
        sql = "SELECT oid FROM packs WHERE oid IN (%s) AND +state = 'unpacked'"
        return {ObjectId(oid) for (oid,) in self._db.rows_in(sql, oids)}

    def rows_after(self, row: int, limit: int) -> list[PackRow]:
        """The next packs in row order, for listings; start with 0."""
        return self._packs("WHERE row > ? ORDER BY row LIMIT ?", row, limit)

    def listed_after(self, row: int, limit: int) -> list[ListedPack]:
        """The next packs that have a place, in row order, with what a listing shows of them and no more."""
        return self._db.rows(
            f"SELECT row, oid, size, coalesce(time, 0), state, CASE WHEN {_IS_HERE} THEN size END "  # noqa: S608
            "FROM packs WHERE row > ? AND offset IS NOT NULL ORDER BY row LIMIT ?",
            (row, limit),
        )

    def places_between(self, first: int, last: int) -> dict[int, tuple[int, int]]:
        """By row, for the rows from ``first`` to ``last``: reel and offset of the packs that lie in a reel."""
        rows = self._db.rows(
            "SELECT row, reel, offset FROM packs WHERE row BETWEEN ? AND ? AND reel IS NOT NULL", (first, last)
        )
        return {row: (reel, offset) for row, reel, offset in rows}

    def last_row(self) -> int:
        """The highest row number, 0 while there is none."""
        return int(self._db.row("SELECT coalesce(max(row), 0) FROM packs")[0])

    def with_stage(self, stage: PackStage, after_row: int = 0, limit: int = 1000) -> list[PackRow]:
        """The next packs in this stage, in row order."""
        return self._packs("WHERE state = ? AND row > ? ORDER BY row LIMIT ?", stage, after_row, limit)

    def unpacked(self) -> list[ObjectId]:
        """The ids of everything that git has, in row order."""
        return [
            ObjectId(oid) for (oid,) in self._db.rows("SELECT oid FROM packs WHERE state = 'unpacked' ORDER BY row")
        ]

    def open_row_before(self, offset: int) -> PackRow | None:
        """The last pack of the open reel that begins before ``offset``."""
        rows = self._packs("WHERE reel IS NULL AND offset < ? ORDER BY offset DESC LIMIT 1", offset)
        return rows[0] if rows else None

    def open_rows(self) -> list[PackRow]:
        """The packs of the open reel by offset."""
        return self._packs("WHERE reel IS NULL AND offset IS NOT NULL ORDER BY offset")

    def with_reason(self, reason: str) -> list[PackRow]:
        """The packs in no sealed reel with this reason."""
        return self._packs("WHERE reel IS NULL AND reason = ? ORDER BY row", reason)

    def ids_in_open_reel(self) -> list[ObjectId]:
        """The packs there that git has, too."""
        sql = "SELECT oid FROM packs WHERE reel IS NULL AND offset IS NOT NULL AND +state = 'unpacked'"
        return [ObjectId(oid) for (oid,) in self._db.rows(sql)]

    def reel_rows(self, reel_id: int) -> list[PackRow]:
        """The packs whose place is in this reel, by offset; a merged reel's packs may have their place elsewhere."""
        return self._packs("WHERE reel = ? ORDER BY offset", reel_id)

    def sealable_after(self, offset: int, limit: int) -> list[tuple[ObjectId, int, int, PackDigest, int]]:
        """The next verified packs of the open reel: id, offset, size, digest and time in s."""
        return self._db.rows(
            f"SELECT oid, offset, size, digest, coalesce(time, 0) FROM packs WHERE {_SEALABLE} AND offset > ? "  # noqa: S608
            "ORDER BY offset LIMIT ?",
            (offset, limit),
        )

    def open_parents(self, first: int, last: int) -> list[tuple[int, int]]:
        """Where packs of the open reel lie that are parents, and their children at these offsets and between."""
        return self._db.rows(
            "SELECT p.offset, c.offset FROM packs c JOIN parents a ON a.child = c.row JOIN packs p ON p.oid = a.parent "
            "WHERE c.reel IS NULL AND c.offset BETWEEN ? AND ? AND p.reel IS NULL AND p.offset IS NOT NULL",
            (first, last),
        )

    def reel_rows_between(self, reel_id: int, start: int, end: int) -> Iterator[PackRow]:
        """Those of them that lie between two offsets, whole; read some at a time, as they then are."""
        while True:
            rows = self._packs(
                "WHERE reel = ? AND offset >= ? AND offset < ? AND offset + size <= ? ORDER BY offset LIMIT ?",
                reel_id, start, end, end, _READ_ROWS,
            )  # fmt: skip
            yield from rows
            if len(rows) < _READ_ROWS:
                return
            start = (rows[-1].offset or 0) + 1

    def whole_bytes(self, reel_id: int, end: int) -> int:
        """Where the last of them ends that lies whole before an offset, 0 without."""
        sql = "SELECT offset + size FROM packs WHERE reel = ? AND offset < ? ORDER BY offset DESC LIMIT 2"
        return max((at for (at,) in self._db.rows(sql, (reel_id, end)) if at <= end), default=0)

    def unpacked_after(self, row: int, limit: int) -> list[tuple[int, ObjectId, int]]:
        """The next packs of what git has, in row order: row, id and time in s."""
        return self._db.rows(
            "SELECT row, oid, coalesce(time, 0) FROM packs WHERE state = 'unpacked' AND row > ? ORDER BY row LIMIT ?",
            (row, limit),
        )

    def parents_between(self, first: int, last: int) -> list[tuple[int, int]]:
        """Rows of known parents and of their children from row ``first`` to ``last``, in the children's order."""
        return self._db.rows(
            "SELECT p.row, a.child FROM parents a JOIN packs p ON p.oid = a.parent WHERE a.child BETWEEN ? AND ? "
            "ORDER BY a.child",
            (first, last),
        )

    def unpacked_items(self) -> list[Item]:
        """The packs of everything that git has, with their history, wherever they lie."""
        return self._items("state = 'unpacked'")

    def _items(self, where: str) -> list[Item]:
        parents: dict[ObjectId, list[ObjectId]] = {}
        for child, parent in self._db.rows(
            f"SELECT p.oid, a.parent FROM packs p JOIN parents a ON a.child = p.row WHERE {where}"  # noqa: S608
        ):
            parents.setdefault(child, []).append(parent)
        rows = self._db.rows(f"SELECT oid, time FROM packs WHERE {where}")  # noqa: S608
        return [Item(oid, time_s or 0, parents.get(oid, ())) for oid, time_s in rows]

    def count(self) -> int:
        """How many packs are known."""
        return self._totals.packs()

    def total_bytes(self) -> int:
        """The size of all known packs together, local or not."""
        return self._totals.bytes()

    def count_by_stage(self) -> dict[PackStage, int]:
        """How many packs are in each stage; stages without any are left out."""
        return self._totals.by_stage()

    def check(self) -> list[str]:
        """Where these numbers are not what counting gives."""
        return self._totals.wrong()

    def put_local(self, packs: Iterable[LocalPack]) -> None:
        """Record packs whose bytes were seen, their stage and history. A local place that a pack already has
        (the open reel, a complete reel) stays its place; one in a reel that is not here gives way."""
        now = int(time.time())
        packs = list(packs)
        with self._db.transaction() as db:
            run_with_rows(
                db,
                _PUT_LOCAL,
                ((p.oid, p.kind, clamp_time_s(p.time_s), p.size, p.digest, p.stage, p.offset, now) for p in packs),
            )
            self._history.put((pack.oid, pack.parents) for pack in packs)

    def put_reel_rows(self, reel_id: int, packs: Iterable[ReelPack], time_s: int) -> list[ObjectId]:
        """Record what a reel's table says: unknown packs become remote, ``time_s`` their time until they are seen.

        Known packs keep their place, unless they have none or this reel is complete and theirs is not. Returns the
        packs that are known here with another digest (which stay untouched): the table lies about those. Refused
        bytes have no word in that: their pack starts again as remote.
        """
        packs = list(packs)
        now, time_s = int(time.time()), clamp_time_s(time_s)
        with self._db.transaction() as db:
            before = self.count()
            run_with_rows(
                db,
                _PUT_REMOTE,
                [(p.oid, time_s, p.size, p.digest, "remote", reel_id, p.offset, now) for p in packs],
            )
            if self.count() - before == len(packs):
                return []  # none was known
            digests = {pack.oid: pack.digest for pack in packs}
            rows = list(self._db.rows_in("SELECT oid, digest FROM packs WHERE oid IN (%s)", digests))
        return [ObjectId(oid) for oid, digest in rows if digest != digests[oid]]

    def move_to_reel(self, reel_id: int, places: Iterable[tuple[ObjectId, int]]) -> None:
        """Give packs their places in a reel that is now local (sealed, merged or fetched)."""
        with self._db.transaction() as db:
            run_with_rows(
                db,
                "WITH given (oid, reel, offset) AS (%s) "
                "UPDATE packs SET reel = given.reel, offset = given.offset FROM given WHERE packs.oid = given.oid",
                ((oid, reel_id, offset) for oid, offset in places),
            )

    def move_to_open_reel(self, places: Iterable[tuple[ObjectId, int | None]], reason: str | None) -> None:
        """Give packs places in the open reel, or (None) none at all, and a reason why they are there, if any."""
        places = list(places)
        gone = self._db.changes, self._rows_of(oid for oid, offset in places if offset is None)
        with self._db.transaction() as db:
            run_with_rows(
                db,
                "WITH given (oid, offset, reason) AS (%s) UPDATE packs SET reel = NULL, offset = given.offset, "
                "reason = given.reason FROM given WHERE packs.oid = given.oid",
                ((oid, offset, reason) for oid, offset in places),
            )
        self._gone.append(gone)

    def set_stage(self, oids: Iterable[ObjectId], stage: PackStage, reason: str | None = None) -> None:
        """Put known packs into a stage; the reason of an earlier one goes."""
        with self._db.transaction() as db:
            run_with_rows(
                db,
                "WITH given (oid, state, reason) AS (%s) "
                "UPDATE packs SET state = given.state, reason = given.reason FROM given WHERE packs.oid = given.oid",
                ((oid, stage, reason) for oid in oids),
            )

    def set_kind_time(self, seen: Iterable[SeenPack]) -> None:
        """Record what the bytes of known packs say of them."""
        seen = list(seen)
        with self._db.transaction() as db:
            run_with_rows(
                db,
                "WITH given (oid, kind, time) AS (%s) "
                "UPDATE packs SET kind = given.kind, time = given.time FROM given WHERE packs.oid = given.oid",
                ((pack.oid, pack.kind, clamp_time_s(pack.time_s)) for pack in seen),
            )
            self._history.put((pack.oid, pack.parents) for pack in seen)

    def drop(self, oids: Iterable[ObjectId]) -> None:
        """Forget packs whose bytes are lost, so that they are encoded or fetched again (with a new row)."""
        lost = [(oid,) for oid in oids]
        gone = self._db.changes, self._rows_of(oid for (oid,) in lost)
        with self._db.transaction() as db:
            for table, row in (("parents", "child"), ("signed", "row")):
                sql = f"DELETE FROM {table} WHERE {row} IN (SELECT row FROM packs WHERE oid IN (%s))"  # noqa: S608
                run_with_rows(db, sql, lost)
            run_with_rows(db, "DELETE FROM packs WHERE oid IN (%s)", lost)
            self._meta.set_taken_up(())
        self._gone.append(gone)

    def pop_gone(self) -> list[int]:
        """The rows that everybody sees, since the last call, to be no more or to have no place any more; some may have
        one again. The loop's thread, whoever writes."""
        found: list[int] = []
        while self._gone and self._gone[0][0] < self._db.changes:  # else its transaction is under way
            found += self._gone.popleft()[1]
        return found

    def _rows_of(self, oids: Iterable[ObjectId]) -> list[int]:
        return [row for (row,) in self._db.rows_in("SELECT row FROM packs WHERE oid IN (%s)", oids)]

    def _packs(self, rest: str, *values: object) -> list[PackRow]:
        return list(map(PackRow._make, self._db.rows(f"{_PACKS} {rest}", values)))
