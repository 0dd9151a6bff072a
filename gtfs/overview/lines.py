# SPDX-License-Identifier: GPL-3.0-or-later
"""The health of repositories as lines on a terminal, and as the one line of a monitor's check. Pure; any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from gtfs.overview.health import STANDINGS, RepositoryHealth, exit_code
from gtfs.overview.plain import amount_text, cut, span_text

_HEAD: Final = ("NAME", "VERS", "AGE", "LAG", "HELD", "REELS", "PEERS", "IN/S", "OUT/S", "RATIO", "TROUBLE")
_NAME_MOST: Final = 20
_WORDS: Final = {0: "OK", 1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN"}


def table(healths: Sequence[RepositoryHealth], width: int | None) -> list[str]:
    """A head and one line for each, in columns; what is in trouble says so last, cut at ``width`` (None: whole)."""
    rows = [_HEAD, *map(_row, healths)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD) - 1)]
    out = []
    for name, *cells, trouble in rows:
        aligned = [cell.rjust(width_) for cell, width_ in zip(cells, widths[1:], strict=True)]
        line = " ".join([name.ljust(widths[0]), *aligned, trouble]).rstrip()
        out.append(line if width is None else cut(line, width))
    return out


def _row(one: RepositoryHealth) -> tuple[str, ...]:
    name = cut(one.name, _NAME_MOST, keep_end=True)
    words = _trouble(one)
    if one.version is None:
        return name, *["-"] * (len(_HEAD) - 2), words
    runs = one.running
    return (
        name,
        str(one.version),
        "-" if one.age is None else span_text(one.age),
        span_text(one.lag) if one.lag else "-",
        str(one.held_back),
        f"{one.reels_whole}/{one.reels}",
        str(one.peers) if runs else "-",
        amount_text(one.download_rate) if runs else "-",
        amount_text(one.upload_rate) if runs else "-",
        "-" if one.ratio is None else f"{one.ratio:.1f}" if one.ratio < 1000 else f"{one.ratio:.0f}",
        words,
    )


def _trouble(one: RepositoryHealth) -> str:
    standing = "" if one.standing == "fresh" else one.standing
    return ": ".join(filter(None, [standing, one.trouble[0] if one.trouble else ""])) or "-"


def check_line(healths: Sequence[RepositoryHealth]) -> str:
    """One line as monitors show it, with the counts as performance data."""
    counts = Counter(one.standing for one in healths)
    worst = [one for one in healths if one.standing != "fresh"]
    said = [f"{one.name} is {one.standing}: {one.trouble[0] if one.trouble else ''}" for one in worst[:1]]
    if worst[1:]:
        others = len(worst) - 1
        said.append("another one is not fresh either" if others == 1 else f"{others} others are not fresh either")
    if counts["fresh"] or not healths:
        some = "1 repository is fresh" if counts["fresh"] == 1 else f"{counts['fresh']} repositories are fresh"
        said.append(some if healths else "there are no repositories")
    data = " ".join(f"{standing}={counts[standing]}" for standing in reversed(list(STANDINGS)))
    return f"GTFS {_WORDS[exit_code(healths)]} - {'; '.join(said).replace('|', '/')} | {data}"
