# SPDX-License-Identifier: GPL-3.0-or-later
"""Which reels are merged into larger ones, and how a mirror finds out (design.md §4, gtfs-reel(5)).

A merged reel is the packs of its neighbours in order: its table is the concatenation of their tables, so its name and
bytes follow from what every mirror of the catalogue before it has. Not about bytes: state/reelfiles.py writes them.
Pure functions, any thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gtfs.pack.limits import KIB
from gtfs.reel.order import FINAL_REEL_BYTES
from gtfs.reel.table import FOOTER_BYTES

MERGED: Final = 8  # neighbours of one class
CLASS_RATIO: Final = 8
FIRST_CLASS_BYTES: Final = 64 * KIB


class ReelSize(NamedTuple):
    """What a catalogue says of a reel that matters here: bytes of its file, and how many packs it holds."""

    size: int
    rows: int


def size_class(size: int) -> int:
    """0 up to 64 KiB, then one more for each factor of 8: 512 KiB, 4 MiB, 32 MiB, 256 MiB."""
    found, limit = 0, FIRST_CLASS_BYTES
    while size > limit:
        found += 1
        limit *= CLASS_RATIO
    return found


def merged_size(sizes: Sequence[int]) -> int:
    """The size of the reel that these make together: there is one footer where each had one."""
    return sum(sizes) - (len(sizes) - 1) * FOOTER_BYTES


def plan(sizes: Sequence[int]) -> list[range]:
    """Group reels of these sizes, in a catalogue's order, into those that shall stand in the next one.

    A range of one stays as it is; a longer one is merged. A reel of `FINAL_REEL_BYTES` or more is never merged. A reel
    counts as of its own class, or of the largest class that comes after it before the next final one: alone between
    larger ones it would never find seven neighbours. Merged are the newest 8 neighbours that count as of one class, of
    a longer run of them the oldest 8, again and again. So at most 7 of each class are left between two final ones.
    """
    groups = [range(i, i + 1) for i in range(len(sizes))]
    now = list(sizes)
    while (first := _newest_run(now)) is not None:
        end = first + MERGED
        now[first:end] = [merged_size(now[first:end])]
        groups[first:end] = [range(groups[first].start, groups[end - 1].stop)]
    return groups


def _newest_run(sizes: Sequence[int]) -> int | None:
    """Where the newest run of at least `MERGED` neighbours begins that count as of one class."""
    level = 0
    end = at = len(sizes)
    while at > 0:
        at -= 1
        if sizes[at] >= FINAL_REEL_BYTES:
            if end - at > MERGED:
                return at + 1
            level, end = 0, at
        elif (own := size_class(sizes[at])) > level:
            if end - at > MERGED:
                return at + 1
            level, end = own, at + 1
    return at if end - at >= MERGED else None


def adding_up(reels: Sequence[ReelSize], wanted: ReelSize) -> Iterator[range]:
    """The runs of at least two neighbours among ``reels`` that would have this size and number of packs together.

    Whether one of them is the reel that is looked for, only its name tells.
    """
    seen: dict[tuple[int, int], int] = {}
    rows = body = 0
    for i, reel in enumerate((*reels, ReelSize(0, 0))):
        start = seen.get((rows - wanted.rows, body - (wanted.size - FOOTER_BYTES)))
        if start is not None and i - start > 1:
            yield range(start, i)
        seen[rows, body] = i
        rows += reel.rows
        body += reel.size - FOOTER_BYTES
