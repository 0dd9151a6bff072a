# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's pictures as SVG: bytes over a day, publishes over a year. Pure; any thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from html import escape
from typing import Final

from gtfs.overview.health import PublishedVersion
from gtfs.overview.plain import bytes_text, time_text
from gtfs.overview.traffic import SPAN_S, SpanMoved

_WIDTH: Final = 720
_HALF: Final = 70  # height of what came in, and of what went out
_WEEKS: Final = 53
_CELL: Final = 12
_SHADES: Final = (1, 2, 4, 8)  # publishes a day, at least


def traffic_chart(spans: Sequence[SpanMoved]) -> str:
    """Received above a line, sent below it, a bar for each span."""
    top = max([1, *(s.received for s in spans), *(s.sent for s in spans)])
    step = _WIDTH / max(1, len(spans))
    received, sent = [], []
    for i, span in enumerate(spans):
        x = f"{i * step:.1f}"
        if span.received:
            received.append(f"M{x} {_HALF}v-{_height(span.received, top):.1f}h{step:.1f}V{_HALF}z")
        if span.sent:
            sent.append(f"M{x} {_HALF}v{_height(span.sent, top):.1f}h{step:.1f}V{_HALF}z")
    hours = len(spans) * SPAN_S // 3600
    total = sum(s.received for s in spans), sum(s.sent for s in spans)
    label = f"In the last {hours} hours {bytes_text(total[0])} were received and {bytes_text(total[1])} sent"
    return (
        f'<svg class="traffic" viewBox="0 0 {_WIDTH} {2 * _HALF}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"><path class="received" d="{"".join(received)}"/>'
        f'<path class="sent" d="{"".join(sent)}"/>'
        f'<path class="axis" d="M0 {_HALF}H{_WIDTH}" vector-effect="non-scaling-stroke"/></svg>'
    )


def _height(count: int, top: int) -> float:
    return max(1.5, (_HALF - 2) * count / top)


def calendar(publishes: Iterable[PublishedVersion], now_s: int) -> str:
    """A year of days in columns of weeks, the newer the further right; darker where more was published."""
    today = datetime.fromtimestamp(now_s, UTC).date()
    first = today - timedelta(days=today.weekday() + 7 * (_WEEKS - 1))
    days: defaultdict[date, list[PublishedVersion]] = defaultdict(list)
    for one in publishes:
        try:
            day = datetime.fromtimestamp(one.date, UTC).date()
        except (OverflowError, ValueError, OSError):
            continue
        if first <= day <= today:
            days[day].append(one)
    cells = "".join(_cell(day, (day - first).days, found) for day, found in sorted(days.items()))
    count = sum(map(len, days.values()))
    label = f"{count} publishes on {len(days)} days of the last year"
    whole, height = (_WEEKS - 1) * _CELL, 7 * _CELL
    return (
        f'<svg class="calendar" viewBox="0 0 {whole + _CELL} {height}" role="img" aria-label="{label}">'
        f'<rect fill="url(#days)" width="{whole}" height="{height}"/>'
        f'<rect fill="url(#days)" x="{whole}" width="{_CELL}" height="{(today.weekday() + 1) * _CELL}"/>{cells}</svg>'
    )


def days_pattern() -> str:
    """What all calendars of a page are drawn on."""
    return (
        f'<svg class="pattern" width="0" height="0" aria-hidden="true"><pattern id="days" width="{_CELL}" '
        f'height="{_CELL}" patternUnits="userSpaceOnUse"><rect class="day" x="1" y="1" width="{_CELL - 2}" '
        f'height="{_CELL - 2}" rx="2"/></pattern></svg>'
    )


def _cell(day: date, number: int, found: Sequence[PublishedVersion]) -> str:
    x, y = number // 7 * _CELL + 1, number % 7 * _CELL + 1
    shade = sum(len(found) >= least for least in _SHADES)
    said = ", ".join(f"{one.version}" for one in found[:10]) + (" …" if found[10:] else "")
    word = "version" if len(found) == 1 else f"{len(found)} versions:"
    return (
        f'<rect class="shade{shade}" x="{x}" y="{y}" width="{_CELL - 2}" height="{_CELL - 2}" rx="2">'
        f"<title>{day.isoformat()}: {word} {said}</title></rect>"
    )


def last_publishes(publishes: Sequence[PublishedVersion], most: int) -> list[tuple[int, str]]:
    """The newest versions and when they were signed, in words."""
    return [(one.version, time_text(one.date)) for one in sorted(publishes, key=lambda p: -p.version)[:most]]
