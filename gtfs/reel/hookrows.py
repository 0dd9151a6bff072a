# SPDX-License-Identifier: GPL-3.0-or-later
"""What hooks have still to hear of moved refs, hook by hook, in the index. Any thread.

Moves gather: a hook hears of one from where it last heard of the ref to where that stands now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from gtfs.ids import ObjectId
from gtfs.reel.database import Database
from gtfs.reel.manyrows import run_with_rows

_BEGUN: Final = "hooks-begun"


class HookMove(NamedTuple):
    """A ref that a hook has to hear of: from where to where, None where it is not."""

    name: bytes
    old: ObjectId | None
    new: ObjectId | None


class HookFailure(NamedTuple):
    """That a hook failed: how often in a row, when last (s), and how."""

    hook: str
    times: int
    last_s: int
    reason: str


class HookRows:
    """Moves that hooks have not heard of, and those hooks that failed."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._failures: tuple[int, list[HookFailure]] | None = None  # as of so many changes of the index

    def begin(self) -> None:
        """From now on moves count; the refs that are held before the first time are no news to a hook."""
        if self._db.row("SELECT value FROM meta WHERE key = ?", (_BEGUN,)) is not None:
            return
        with self._db.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, '1')", (_BEGUN,))
            db.execute("INSERT OR REPLACE INTO hook_refs SELECT name, oid FROM held_refs")

    def gather(self, hooks: Iterable[str], others: Sequence[str] = ()) -> None:
        """Note for each hook what has moved since the last time; hooks that are no more have nothing to hear.

        ``others``: last parts of the names of hooks that hear of something else.
        """
        wanted = set(hooks)
        with self._db.transaction() as db:
            changed = db.execute(
                "SELECT h.name, s.oid, h.oid FROM held_refs h LEFT JOIN hook_refs s ON s.name = h.name "
                "WHERE s.oid IS NOT h.oid UNION ALL "
                "SELECT s.name, s.oid, NULL FROM hook_refs s WHERE s.name NOT IN (SELECT name FROM held_refs)"
            ).fetchall()
            for (hook,) in db.execute("SELECT hook FROM hook_moves UNION SELECT hook FROM hook_failures").fetchall():
                if hook not in wanted and hook.rpartition("/")[2] not in others:
                    db.execute("DELETE FROM hook_moves WHERE hook = ?", (hook,))
                    db.execute("DELETE FROM hook_failures WHERE hook = ?", (hook,))
            for hook in sorted(wanted):
                run_with_rows(
                    db,
                    "INSERT INTO hook_moves %s ON CONFLICT (hook, name) DO UPDATE SET new = excluded.new",
                    ((hook, *row) for row in changed),
                )
            db.execute("DELETE FROM hook_moves WHERE old IS new")  # there and back: nothing has moved
            gone = ((name,) for name, _, new in changed if new is None)
            run_with_rows(db, "DELETE FROM hook_refs WHERE name IN (%s)", gone)
            there = ((name, new) for name, _, new in changed if new is not None)
            run_with_rows(db, "INSERT OR REPLACE INTO hook_refs %s", there)

    def is_quiet(self) -> bool:
        """Whether `gather` would find nothing to note, and no hook has to hear of anything or failed."""
        moved = (
            "SELECT 1 FROM held_refs h LEFT JOIN hook_refs s ON s.name = h.name WHERE s.oid IS NOT h.oid UNION ALL "
            "SELECT 1 FROM hook_refs s WHERE s.name NOT IN (SELECT name FROM held_refs)"
        )
        noted = "SELECT 1 FROM hook_moves UNION ALL SELECT 1 FROM hook_failures"
        return self._db.row(f"{noted} UNION ALL {moved} LIMIT 1") is None

    def due(self) -> list[str]:
        """The hooks that have something to hear, sorted."""
        return [hook for (hook,) in self._db.rows("SELECT DISTINCT hook FROM hook_moves ORDER BY hook")]

    def moves(self, hook: str) -> list[HookMove]:
        """What a hook has to hear, by name of ref."""
        rows = self._db.rows("SELECT name, old, new FROM hook_moves WHERE hook = ? ORDER BY name", (hook,))
        return [HookMove(name, old and ObjectId(old), new and ObjectId(new)) for name, old, new in rows]

    def heard(self, hook: str, moves: Iterable[HookMove]) -> None:
        """The hook ran well with these; what moved meanwhile it has still to hear, from there on."""
        rest: Mapping[bytes, HookMove] = {m.name: m for m in self.moves(hook)}
        with self._db.transaction() as db:
            db.execute("DELETE FROM hook_failures WHERE hook = ?", (hook,))
            for move in moves:
                now = rest.get(move.name)
                if now is None or now.new == move.new:
                    db.execute("DELETE FROM hook_moves WHERE hook = ? AND name = ?", (hook, move.name))
                else:
                    db.execute("UPDATE hook_moves SET old = ? WHERE hook = ? AND name = ?", (move.new, hook, move.name))

    def failed(self, hook: str, now_s: int, reason: str) -> None:
        """It failed, and will be tried again."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO hook_failures VALUES (?, 1, ?, ?) ON CONFLICT (hook) DO UPDATE "
                "SET times = times + 1, last = excluded.last, reason = excluded.reason",
                (hook, now_s, reason.encode("utf-8", "backslashreplace").decode()),
            )

    def failures(self) -> list[HookFailure]:
        """The hooks whose last run failed, by name.

        Known by heart while nothing changes: each of a thousand nodes asks now and then, and would open its index.
        """
        known, changes = self._failures, self._db.changes
        if known is None or known[0] != changes or self._db.is_writing() or self._db.read_only:
            rows = self._db.rows("SELECT hook, times, last, reason FROM hook_failures ORDER BY hook")
            known = (changes, [HookFailure._make(row) for row in rows])
            if not self._db.is_writing():
                self._failures = known
        return list(known[1])
