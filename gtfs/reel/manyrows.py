# SPDX-License-Identifier: GPL-3.0-or-later
"""One statement for many rows. `executemany` runs its statement anew for each row and lets go of Python's lock each
time: beside a busy thread most of its time is waiting to have that back (doc/facts.md). Any thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Final

_VARIABLES: Final = 999  # in one statement, SQLite's oldest limit


def run_with_rows(db: sqlite3.Connection, sql: str, rows: Iterable[Sequence[object]]) -> None:
    """Run ``sql``, whose one ``%s`` stands for ``VALUES (?, ?), ...``, with all rows, some hundreds at a time.

    No two of the rows may be about the same row of the table, unless ``sql`` inserts: a later one counts then.
    """
    left = iter(rows)
    for first in left:
        width = len(first)
        part = [first, *islice(left, _VARIABLES // width - 1)]
        row = f"({','.join('?' * width)})"
        db.execute(sql % f"VALUES {','.join([row] * len(part))}", list(chain.from_iterable(part)))
