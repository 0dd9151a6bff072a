# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page tells of one repository: troubles, refusals, reels and their copies, feeds, publishes. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from gtfs.overview.drawing import calendar, last_publishes
from gtfs.overview.health import STANDINGS, ReelHealth, RepositoryHealth, Standing
from gtfs.overview.plain import bytes_text, span_text, time_text

_REELS_MOST: Final = 200
_REFS_MOST: Final = 5  # of one reason
_PUBLISHES_MOST: Final = 10
_DOTS: Final = 10
_REEL_COLUMNS: Final = ("Reel", "Full copies", "Here", "Size", "Peers", "In", "Out")


def anchor(name: str) -> str:
    """Where the page has a repository: an id for any name."""
    return "r-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def badge(standing: Standing) -> str:
    """The word in its colour."""
    return f'<span class="badge {standing}">{standing}</span>'


def when(seconds: int | None) -> str:
    """A time, for people and for programs."""
    text = escape(time_text(seconds))
    try:
        stamp = datetime.fromtimestamp(seconds or 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return text
    return text if seconds is None else f'<time datetime="{stamp}">{text}</time>'


def head(columns: Sequence[str]) -> str:
    """The head of a table; roles are told, as a narrow screen shows the table as cards."""
    cells = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in columns)
    return f'<thead role="rowgroup"><tr role="row">{cells}</tr></thead>'


def cell(label: str, text: str | None, title: str | None = None) -> str:
    """A cell of text; None is a dash."""
    more = f' title="{escape(title)}"' if title is not None and text is not None else ""
    shown = '<span class="no">–</span>' if text is None else escape(text)
    return f'<td role="cell" data-label="{label}"{more}>{shown}</td>'


def details(one: RepositoryHealth, now_s: int) -> str:
    """All that is known of a repository, folded up."""
    parts = [
        f'<p class="why">{escape(STANDINGS[one.standing].capitalize())}.</p>',
        _troubles(one),
        _facts(one),
        _held_back(one),
        _refused(one),
        _reels(one),
        _publishes(one, now_s),
    ]
    where = anchor(one.name)
    return (
        f'<details id="of-{where}"><summary id="open-{where}"><span class="name">{escape(one.name)}</span> '
        f'{badge(one.standing)}</summary><div class="inside" id="{where}">{"".join(parts)}</div></details>'
    )


def _troubles(one: RepositoryHealth) -> str:
    if not one.trouble:
        return ""
    return f'<ul class="troubles">{"".join(f"<li>{escape(words)}</li>" for words in one.trouble)}</ul>'


def _facts(one: RepositoryHealth) -> str:
    if one.standing == "unreachable":
        return ""
    facts = [("Node", "running" if one.running else "not running")]
    if one.version is not None:
        facts.append(("Catalogue", f"version {one.version}, signed {when(one.date)}"))
        facts.append(("Counts until", when(one.valid_until)))
        facts.append(("Refs", f"{one.refs}, {one.held_back} of them held back"))
        if one.lag:
            facts.append(("Behind for", span_text(one.lag)))
    facts.append(("Packs", f"{one.packs}, {bytes_text(one.bytes)}"))
    if one.running:
        moved = f"{bytes_text(one.downloaded)} received, {bytes_text(one.uploaded)} sent since the start"
        facts.append(("Moved", moved))
    for feed in one.feeds:
        said = f"answered {when(feed.answered)}" if feed.error is None else f"{escape(feed.error)}"
        last = "" if feed.error is None else f"; answered last {when(feed.answered)}"
        facts.append(("Feed", f"<code>{escape(feed.feed)}</code> {said}{last}"))
    return f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{words}</dd></div>' for name, words in facts)}</dl>"


def _held_back(one: RepositoryHealth) -> str:
    if not one.refs_held_back:
        return ""
    refs: dict[str, list[str]] = {}
    for held_back in one.refs_held_back:
        refs.setdefault(held_back.reason, []).append(held_back.ref)
    items = []
    for reason, names in refs.items():
        shown = ", ".join(f"<code>{escape(name)}</code>" for name in names[:_REFS_MOST])
        more = f" and {len(names) - _REFS_MOST} more" if names[_REFS_MOST:] else ""
        items.append(f"<div><dt>{shown}{more}</dt><dd>{escape(reason)}</dd></div>")
    left = one.held_back - len(one.refs_held_back)
    rest = f"<p>And {left} more.</p>" if left > 0 else ""
    return f'<h3>Refs held back</h3><dl class="reasons">{"".join(items)}</dl>{rest}'


def _refused(one: RepositoryHealth) -> str:
    if not one.refused:
        return ""
    items = "".join(
        f"<div><dt><code>{escape(q.file)}</code></dt><dd>{escape(q.reason)}</dd></div>" for q in reversed(one.refused)
    )
    return f'<h3>Refused files</h3><dl class="reasons">{items}</dl>'


def _reels(one: RepositoryHealth) -> str:
    if not one.swarm:
        return ""
    reels = sorted(one.swarm, key=lambda r: (r.full_copies, r.reel))
    rows = "".join(_reel(reel) for reel in reels[:_REELS_MOST])
    left = len(reels) - _REELS_MOST
    rest = f"<p>And {left} more, with as many copies or more.</p>" if left > 0 else ""
    return (
        '<h3>Reels in the swarm</h3><table class="wide reels" role="table">'
        f'{head(_REEL_COLUMNS)}<tbody role="rowgroup">{rows}</tbody></table>{rest}'
    )


def _reel(reel: ReelHealth) -> str:
    here = 100 * reel.local // reel.size if reel.size else 100
    trouble = f"<p>{escape(reel.failure)}</p>" if reel.failure is not None else ""
    dots = "".join('<span class="dot"></span>' for _ in range(min(reel.full_copies, _DOTS)))
    none = ' class="bad"' if reel.full_copies == 0 else ""
    cells = [
        f'<th scope="row" role="rowheader"><code title="{escape(reel.reel)}">{escape(reel.reel[:16])}</code>'
        f"{trouble}</th>",
        f'<td role="cell" data-label="Full copies"{none}>{reel.full_copies} <span class="dots" aria-hidden="true">'
        f"{dots}</span></td>",
        cell("Here", f"{here} %"),
        cell("Size", f"{bytes_text(reel.size)}"),
        cell("Peers", str(reel.peers)),
        cell("In", f"{bytes_text(reel.downloaded)}"),
        cell("Out", f"{bytes_text(reel.uploaded)}"),
    ]
    return f'<tr role="row">{"".join(cells)}</tr>'


def _publishes(one: RepositoryHealth, now_s: int) -> str:
    if not one.publishes:
        return ""
    newest = "".join(
        f"<li>version {version}, {escape(date)}</li>"
        for version, date in last_publishes(one.publishes, _PUBLISHES_MOST)
    )
    return (
        f"<h3>Publishes</h3><figure>{calendar(one.publishes, now_s)}"
        "<figcaption><span>a year ago</span><span>today</span></figcaption></figure>"
        f'<ol class="newest">{newest}</ol>'
    )
