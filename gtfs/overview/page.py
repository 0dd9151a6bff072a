# SPDX-License-Identifier: GPL-3.0-or-later
"""The web page: whole without scripts, every value from outside escaped. Pure; any thread.

A script (``web/live.js``) asks for this same page again and puts its parts in the place of the old ones: what is shown
is written here and nowhere else. No style and no script stands in it, so that nothing of the kind is ever run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from gtfs.overview.drawing import calendar, days_pattern, traffic_chart
from gtfs.overview.health import STANDINGS, RepositoryHealth
from gtfs.overview.plain import bytes_text, span_text, time_text
from gtfs.overview.repositorypage import anchor, badge, cell, details, head, when
from gtfs.overview.traffic import SpanMoved

_COLUMNS: Final = (
    "Repository",
    "Standing",
    "Version",
    "Age",
    "Behind for",
    "Held back",
    "Reels",
    "Peers",
    "In",
    "Out",
    "Ratio",
)


_DETAILS_MOST: Final = 200  # repositories, the worst: the page is sent again and again


@dataclass(frozen=True)
class Shown:
    """What a page shows: healths in their order, a day of traffic, and as of when."""

    healths: Sequence[RepositoryHealth]
    moved: Sequence[SpanMoved]
    now_s: int
    version: str  # of gtfs


def page(shown: Shown) -> str:
    """The document."""
    bad = sum(one.standing != "fresh" for one in shown.healths)
    title = f"{bad} of {len(shown.healths)} not fresh" if bad else f"{_repositories(shown.healths)}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} – gtfs</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/style.css">
<script src="/live.js" defer></script>
</head>
<body>
<a class="skip" href="#repositories">To the repositories</a>
{days_pattern()}
<header>
<h1>gtfs</h1>
<p id="asof">As of {when(shown.now_s)}</p>
<p id="live" role="status"></p>
</header>
<main>
{_summary(shown)}
<div class="pictures">
{_traffic(shown)}
{_publishes(shown)}
</div>
{_table(shown)}
{_details(shown)}
</main>
<footer><p>gtfs {escape(shown.version)}. The same for programs: <a href="/status.json">status.json</a>,
<a href="/metrics">metrics</a>.</p></footer>
</body>
</html>
"""


def _repositories(healths: Sequence[RepositoryHealth]) -> str:
    return "1 repository" if len(healths) == 1 else f"{len(healths)} repositories"


def _summary(shown: Shown) -> str:
    counts = Counter(one.standing for one in shown.healths)
    badges = " ".join(
        f'<span class="badge {standing}">{counts[standing]} {standing}</span>'
        for standing in STANDINGS
        if counts[standing]
    )
    received, sent = sum(m.received for m in shown.moved), sum(m.sent for m in shown.moved)
    down, up = (sum(getattr(j, name) for j in shown.healths) for name in ("download_rate", "upload_rate"))
    peers = sum(one.peers for one in shown.healths)
    reels = sum(one.reels_whole for one in shown.healths), sum(one.reels for one in shown.healths)
    tiles = [
        (str(len(shown.healths)), "repository" if len(shown.healths) == 1 else "repositories", badges),
        (f"{reels[0]}<small> of {reels[1]}</small>", "reels whole", ""),
        (str(peers), "peer" if peers == 1 else "peers", ""),
        (_rate(down), "received", f"{bytes_text(received)} in the last day"),
        (_rate(up), "sent", f"{bytes_text(sent)} in the last day"),
    ]
    items = "".join(
        f"<li><strong>{number}</strong> <span>{word}</span>{f'<p>{more}</p>' if more else ''}</li>"
        for number, word, more in tiles
    )
    return f'<section id="summary" aria-label="Summary"><ul class="tiles">{items}</ul></section>'


def _rate(count: int) -> str:
    number, _, unit = bytes_text(count).partition(" ")
    return f"{number}<small> {unit}/s</small>"


def _traffic(shown: Shown) -> str:
    top = max([0, *(m.received for m in shown.moved), *(m.sent for m in shown.moved)])
    return f"""<section id="traffic"{_hidden(shown)} aria-labelledby="h-traffic">
<h2 id="h-traffic">Traffic of a day</h2>
<p class="legend"><span class="key received"></span> received <span class="key sent"></span> sent
<span class="scale">{bytes_text(top)} in five minutes at most</span></p>
<figure>{traffic_chart(shown.moved)}<figcaption><span>24 h ago</span><span>now</span></figcaption></figure></section>"""


def _publishes(shown: Shown) -> str:
    every = [one for health in shown.healths for one in health.publishes]
    return f"""<section id="publishes"{_hidden(shown)} aria-labelledby="h-publishes">
<h2 id="h-publishes">Publishes of a year</h2>
<p class="legend">Catalogues that were accepted here, by the day on which they were signed</p>
<figure>{calendar(every, shown.now_s)}
<figcaption><span>a year ago</span><span>today</span></figcaption></figure></section>"""


def _hidden(shown: Shown) -> str:
    return "" if shown.healths else " hidden"  # so that an empty page begins with why it is


def _table(shown: Shown) -> str:
    if not shown.healths:
        return (
            '<section id="repositories" aria-labelledby="h-repositories"><h2 id="h-repositories">Repositories</h2>'
            '<p class="none">There are none yet. Once this daemon runs some, they are listed here.</p></section>'
        )
    rows = "".join(_row(one, has_details=n < _DETAILS_MOST) for n, one in enumerate(shown.healths))
    return (
        '<section id="repositories" aria-labelledby="h-repositories"><h2 id="h-repositories">Repositories</h2>'
        f'<table class="wide" role="table">{head(_COLUMNS)}<tbody role="rowgroup">{rows}</tbody></table></section>'
    )


def _row(one: RepositoryHealth, *, has_details: bool) -> str:
    known = one.version is not None
    where = anchor(one.name)
    link = f'<a id="to-{where}" href="#{where}">{escape(one.name)}</a>' if has_details else escape(one.name)
    words = f"<p>{escape(one.trouble[0])}</p>" if one.trouble and one.standing != "fresh" else ""
    cells = [
        f'<th scope="row" role="rowheader">{link}{words}</th>',
        f'<td role="cell" data-label="Standing">{badge(one.standing)}</td>',
        cell("Version", str(one.version) if known else None),
        cell("Age", None if one.age is None else span_text(one.age), time_text(one.date)),
        cell("Behind for", span_text(one.lag) if one.lag else None),
        cell("Held back", f"{one.held_back} of {one.refs}" if one.held_back else "0" if known else None),
        cell("Reels", f"{one.reels_whole} of {one.reels}" if known else None),
        cell("Peers", str(one.peers) if one.running else None),
        cell("In", f"{bytes_text(one.download_rate)}/s" if one.running else None),
        cell("Out", f"{bytes_text(one.upload_rate)}/s" if one.running else None),
        cell("Ratio", None if one.ratio is None else f"{one.ratio:.2f}"),
    ]
    return f'<tr role="row" class="{one.standing}">{"".join(cells)}</tr>'


def _details(shown: Shown) -> str:
    if not shown.healths:
        return '<section id="details" hidden></section>'
    every = "\n".join(details(one, shown.now_s) for one in shown.healths[:_DETAILS_MOST])
    left = len(shown.healths) - _DETAILS_MOST
    if left > 0:
        every += f'<p class="none">Of {left} more status.json tells all of this.</p>'
    return (
        '<section id="details" aria-labelledby="h-details"><h2 id="h-details">One by one</h2>'
        f'<div class="every">{every}</div></section>'
    )
