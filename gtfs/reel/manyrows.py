# SPDX-License-Identifier: GPL-3.0-or-later
"""One statement for many rows. `executemany` runs its statement anew for each row and lets go of Python's lock each
time: beside a busy thread most of its time is waiting to have that back (doc/facts.md). Any thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Final

_VARIABLES: Final = 999  # in one statement, SQLite's oldest limit; one so long takes 100 KiB when it is prepared


def run_with_rows(db: sqlite3.Connection, sql: str, rows: Iterable[Sequence[object]]) -> None:
    """Run ``sql``, whose one ``%s`` stands for ``VALUES (?, ?), ...``, with all rows, some hundreds at a time.

    No two of the rows may be about the same row of the table, unless ``sql`` inserts: a later one counts then.
    The last of them may be given to it several times: a second time must change nothing but a gap in an
    AUTOINCREMENT's numbers.
    """
    left = iter(rows)
    for first in left:
        width = len(first)
        most = _VARIABLES // width
        part = [first, *islice(left, most - 1)]
        # A few lengths, filled with the last, so that few prepared statements serve them all.
        length = min(1 << (len(part) - 1).bit_length(), most)
        part += part[-1:] * (length - len(part))
        row = f"({','.join('?' * width)})"
        db.execute(sql % f"VALUES {','.join([row] * length)}", list(chain.from_iterable(part)))
