# SPDX-License-Identifier: GPL-3.0-or-later
"""`gtfs fsck --due`: reads what has not been read for long, a part each day, so that each byte is in four weeks.

Nothing is locked for it: whole reels do not change, so it runs beside all else. One that leaves the catalogue, or of
which pieces are let go of, is said not to be whole any more before its file changes. Any thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gtfs.durable import replace_file
from gtfs.ids import ReelName
from gtfs.layout import Layout
from gtfs.reel.index import ReelRow
from gtfs.state.control import read_object
from gtfs.state.fsck import check_reel
from gtfs.state.state import State

DAYS: Final = 28
_DAY_S: Final = 24 * 3600


class Mark(NamedTuple):
    """When a reel was read last, and what was wrong with it then, if something was."""

    read_s: int
    wrong: str | None


def read_marks(layout: Layout) -> dict[str, Mark]:
    """What is kept of former checks, by reel; nothing of a file that nobody can read. Raises OSError."""
    try:
        found = read_object(layout.checked.read_bytes()) or {}
    except FileNotFoundError:
        return {}
    marks = {}
    for name, value in found.items():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], int):
            marks[name] = Mark(value[0], None if value[1] is None else str(value[1]))
    return marks


def find_damaged(layout: Layout) -> dict[str, str]:
    """The reels that were damaged when they were read last, and how. Raises OSError."""
    return {name: mark.wrong for name, mark in read_marks(layout).items() if mark.wrong is not None}


def check_due(
    state: State, stop: Callable[[], bool], tell: Callable[[int, int], None], now_s: int | None = None
) -> dict[str, Any]:
    """Read what is due; gives how many reels and bytes, of how many, and what is wrong, by reel.

    Due is what was damaged or was not read for 27 days, and of the rest the oldest, as much as is one day's part.
    ``tell`` hears the bytes read and to be read. A reel that was never read counts from when its file last changed; one
    that is not whole any more when it was read is not judged. Raises OSError.
    """
    now_s = int(time.time()) if now_s is None else now_s
    reels = [reel for reel in state.index.reels.all() if reel.is_whole]
    before = read_marks(state.layout)
    marks = {reel.name: before.get(reel.name) or Mark(_changed_s(state, reel, now_s), None) for reel in reels}
    due = _choose(reels, marks, now_s)
    total, done = sum(reel.size for reel in due), 0
    for reel in due:
        if stop():
            break
        lines = list(check_reel(state, reel, set()))
        if lines and not _is_still_whole(state, reel):
            del marks[reel.name]  # what was read is on its way out
        else:
            marks[reel.name] = Mark(now_s, "; ".join(lines[:3]) or None)
        done += reel.size
        tell(done, total)
        if not state.read_only:  # each by itself: an interrupted check goes on where it was
            replace_file(state.layout.checked, json.dumps(marks).encode() + b"\n")
    wrong = {name: mark.wrong for name, mark in marks.items() if mark.wrong is not None}
    return {"reels": len(due), "bytes": done, "bytes_of": sum(reel.size for reel in reels), "damaged": wrong}


def _is_still_whole(state: State, reel: ReelRow) -> bool:
    now = state.index.reels.by_name(reel.name)
    return now is not None and now.is_whole


def _choose(reels: list[ReelRow], marks: dict[ReelName, Mark], now_s: int) -> list[ReelRow]:
    oldest = sorted(reels, key=lambda reel: (marks[reel.name].read_s <= now_s, marks[reel.name].read_s))
    part, chosen = sum(reel.size for reel in reels) / DAYS, 0
    due = []
    for reel in oldest:
        mark = marks[reel.name]
        # A day early: the next run may come late by as much.
        is_late = now_s - mark.read_s > (DAYS - 1) * _DAY_S or mark.wrong is not None
        is_fresh = 0 <= now_s - mark.read_s < _DAY_S  # a clock that was set back keeps nothing unread for years
        if is_late or (chosen < part and not is_fresh):
            due.append(reel)
            chosen += reel.size
    return due


def _changed_s(state: State, reel: ReelRow, now_s: int) -> int:
    try:
        return min(now_s, int(state.layout.reel(reel.name).stat().st_mtime))
    except OSError:
        return 0
