# SPDX-License-Identifier: GPL-3.0-or-later
"""One statement for many rows: no row is lost between two statements, and none finds its row by reading the table."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gtfs.reel.manyrows import run_with_rows

INSERT = "INSERT OR REPLACE INTO t (id, word) %s"


@pytest.fixture
def db() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.execute("CREATE TABLE t (id BLOB PRIMARY KEY, word TEXT) STRICT, WITHOUT ROWID")
    return made


def rows(count: int) -> list[tuple[bytes, str | None]]:
    return [(b"%06d" % n, None if n % 3 == 0 else f"word {n}") for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 498, 499, 500, 998, 2500])
def test_all_rows_arrive_however_many(db: sqlite3.Connection, count: int) -> None:
    run_with_rows(db, INSERT, iter(rows(count)))
    assert db.execute("SELECT id, word FROM t ORDER BY id").fetchall() == rows(count)


def test_of_two_rows_that_are_inserted_for_one_key_the_later_counts(db: sqlite3.Connection) -> None:
    run_with_rows(db, INSERT, [(b"a", "one"), (b"a", "two")])
    run_with_rows(
        db, "INSERT INTO t %s ON CONFLICT (id) DO UPDATE SET word = excluded.word", [(b"a", "3"), (b"a", "4")]
    )
    assert db.execute("SELECT id, word FROM t").fetchall() == [(b"a", "4")]


def test_rows_that_are_not_there_are_neither_updated_nor_deleted(db: sqlite3.Connection) -> None:
    run_with_rows(db, INSERT, rows(1200))
    run_with_rows(
        db,
        "WITH given (id, word) AS (%s) UPDATE t SET word = given.word FROM given WHERE t.id = given.id",
        [(key, "new") for key, _ in rows(600)] + [(b"absent", "new")],
    )
    assert db.execute("SELECT word, count(*) FROM t WHERE word = 'new'").fetchall() == [("new", 600)]
    run_with_rows(db, "DELETE FROM t WHERE id IN (%s)", [(key,) for key, _ in rows(1199)] + [(b"absent",)])
    assert db.execute("SELECT id, word FROM t").fetchall() == rows(1200)[-1:]


def test_few_statements_serve_any_number_of_rows(tmp_path: Path) -> None:
    """SQLite keeps what it prepared: 100 KiB for the longest, and 128 of them a connection."""
    seen = set()

    class Seen(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            seen.add(sql)
            return super().execute(sql, *values)

    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None, factory=Seen)) as db:
        db.execute("CREATE TABLE t (id BLOB PRIMARY KEY, word TEXT) STRICT, WITHOUT ROWID")
        seen.clear()
        for count in range(1, 600, 7):
            run_with_rows(db, "INSERT OR REPLACE INTO t (id, word) %s", rows(count))
            assert len(db.execute("SELECT id FROM t").fetchall()) == count
        seen.remove("SELECT id FROM t")
    assert len(seen) <= 10
