# SPDX-License-Identifier: GPL-3.0-or-later
"""The health of repositories as lines, metrics and a page: whatever names and reasons hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from told import NOW, REEL, catalogue, feed, reel, told

from gtfs.overview.health import RepositoryHealth, Thresholds, judge, ranked, unanswered
from gtfs.overview.lines import check_line, table
from gtfs.overview.metrics import metrics
from gtfs.overview.page import Shown, page
from gtfs.overview.plain import amount_text, bytes_text, plain, span_text
from gtfs.overview.traffic import SPAN_S, SPANS, Traffic

EVIL = "<script>alert(1)</script>\"'&\\ \n\x1b[31m\u202egnp\u0000\udc80"


def health(name: str | None = None, **more: Any) -> RepositoryHealth:
    return judge(told(**more), NOW, Thresholds(), name)


def evil() -> RepositoryHealth:
    return health(
        EVIL,
        catalogue=catalogue(held_back=2, behind_since=1),
        refs_held_back=[{"ref": EVIL, "reason": EVIL}] * 2,
        quarantine=[{"file": EVIL, "reason": EVIL}],
        feeds=[feed(feed=EVIL, error=EVIL)],
        swarm={"reels": {EVIL: reel(failure=EVIL)}},
    )


def some() -> list[RepositoryHealth]:
    stale = health("pub/scm/linux/kernel/git/torvalds/linux.git", catalogue=catalogue(stale=True))
    return ranked([health(), stale, evil(), unanswered("gone", "Input/output error"), health(catalogue=None)])


# -- lines ----------------------------------------------------------------------------------------------------------


def test_lines_have_columns_and_fit_a_terminal() -> None:
    lines = table(some(), 80)
    assert len(lines) == 6 and max(map(len, lines)) == 80
    at = lines[0].index(" TROUBLE")
    assert all(line[at] == " " and line[at - 1] != " " for line in lines)
    assert any("torvalds/linux.git " in line and " stale: " in line for line in lines)


def test_a_file_gets_all_of_the_trouble() -> None:
    assert "unreachable: Input/output error" in "\n".join(table(some(), None))


def test_no_line_carries_what_controls_a_terminal() -> None:
    for line in [*table(some(), None), check_line(some())]:
        assert line.isprintable(), ascii(line)


def test_a_check_is_one_line_with_the_counts() -> None:
    assert check_line([health()]) == (
        "GTFS OK - 1 repository is fresh | fresh=1 lagging=0 empty=0 unreachable=0 stale=0 equivocated=0 damaged=0"
    )
    stale = health(catalogue=catalogue(stale=True))
    said = check_line(ranked([health(), stale, unanswered("gone", "a | b")]))
    assert said.startswith(
        "GTFS CRITICAL - demo is stale: catalogue 7 is past its Valid-Until: refs do not move; another one"
    )
    assert said.count("|") == 1 and "\n" not in said
    assert check_line([]).startswith("GTFS UNKNOWN")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0K"),
        (1 << 20, "1.0M"),
        (10 << 20, "10M"),
        (999 << 30, "999G"),
        (5 << 50, "5120T"),
    ],
)
def test_an_amount_has_at_most_five_characters(count: int, text: str) -> None:
    assert amount_text(count) == text and len(text) <= 5


def test_spans_and_bytes_are_told_in_their_largest_unit() -> None:
    assert [span_text(s) for s in (0, 59, 60, 7199, 86400, 400 * 86400)] == ["0s", "59s", "1m", "1h", "1d", "400d"]
    assert (bytes_text(12), bytes_text(2048)) == ("12 B", "2.0 KiB")


def test_what_cannot_be_seen_is_written_out() -> None:
    assert plain("a\tb\u202e\U000e0001\udc80é") == "a\\x09b\\u202e\\U000e0001\\udc80é"
    assert len(plain("x" * 100_000)) == 500


# -- metrics --------------------------------------------------------------------------------------------------------

SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\} (-?[0-9.e+]+)\Z')


def samples(text: str) -> dict[tuple[str, str], float]:
    """By name and labels; every line must be of the format, and each name told of before its samples stand together."""
    found: dict[tuple[str, str], float] = {}
    kinds: dict[str, str] = {}
    now = ""
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            now = line.split(" ")[2]
            assert now not in kinds
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2] == now
            kinds[now] = line.split(" ")[3]
        else:
            match = SAMPLE.match(line)
            assert match and match[1] == now and (match[1], match[2]) not in found, line
            assert (kinds[now] == "counter") == now.endswith("_total")
            found[match[1], match[2]] = float(match[3])
    return found


def test_metrics_are_of_the_format_and_tell_the_numbers() -> None:
    found = samples(metrics(ranked([health(), unanswered("gone", "no")]), "1.2"))
    assert found["gtfs_build_info", 'version="1.2"'] == 1
    assert found["gtfs_repository_up", 'repository="gone"'] == 0
    assert found["gtfs_repository_standing", 'repository="demo",standing="fresh"'] == 1
    assert found["gtfs_repository_standing", 'repository="demo",standing="stale"'] == 0
    assert found["gtfs_repository_catalogue_version", 'repository="demo"'] == 7
    assert found["gtfs_repository_sent_bytes_total", 'repository="demo"'] == 10
    assert found["gtfs_reel_full_copies", f'repository="demo",reel="{REEL}"'] == 3
    assert ("gtfs_repository_refs", 'repository="gone"') not in found


def test_labels_of_metrics_are_escaped() -> None:
    text = metrics(some(), "1")
    assert len(samples(text)) > 50
    assert "<script>alert(1)</script>\\\"'&\\\\ \\\\x0a" in text


# -- page -----------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags with their attributes, ids, and that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(healths: list[RepositoryHealth]) -> Page:
    return Page(page(Shown(healths, Traffic().last_day(NOW), NOW, "1.2")))


def test_nothing_from_outside_becomes_a_tag_an_attribute_or_a_control_character() -> None:
    found = shown(some())
    text = page(Shown(some(), Traffic().last_day(NOW), NOW, "1.2"))
    assert [attrs for tag, attrs in found.tags if tag == "script"] == [{"src": "/live.js", "defer": None}]
    assert all(name != "style" and not name.startswith("on") for _, attrs in found.tags for name in attrs)
    assert "<script>alert(1)</script>" in found.text
    assert all(c.isprintable() or c == "\n" for c in text)
    text.encode()


@pytest.mark.parametrize("healths", [some(), ranked([health() for _ in range(300)]), []], ids=("some", "many", "none"))
def test_ids_are_unique_and_every_reference_has_one(healths: list[RepositoryHealth]) -> None:
    found = shown(healths)
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = [attrs["href"] for tag, attrs in found.tags if tag == "a"] + [
        f"#{attrs['aria-labelledby']}" for _, attrs in found.tags if "aria-labelledby" in attrs
    ]
    assert {w[1:] for w in wanted if w is not None and w.startswith("#")} <= set(ids)


def test_nothing_is_asked_of_another_server() -> None:
    found = shown(some())
    places = [v for _, attrs in found.tags for k, v in attrs.items() if k in ("src", "href", "xlink:href", "action")]
    assert all(p is not None and p.startswith(("/", "#")) and not p.startswith("//") for p in places)


def test_the_page_tells_every_reason_and_says_when_there_is_nothing() -> None:
    held_back = [{"ref": f"refs/heads/{n}", "reason": f"reason {n % 2}"} for n in range(20)]
    many = health(catalogue=catalogue(held_back=300, behind_since=1), refs_held_back=held_back)
    text = shown([many]).text
    assert "reason 0" in text and "reason 1" in text and "And 280 more." in text and "refs/heads/8 and 5 more" in text
    nothing = shown([])
    assert "There are none yet" in nothing.text
    # ... which is what it begins with: there is no traffic and no calendar of nothing.
    assert {attrs["id"] for _, attrs in nothing.tags if "hidden" in attrs} == {"traffic", "publishes", "details"}


def test_a_thousand_repositories_make_no_endless_page() -> None:
    found = shown(ranked([health() for _ in range(1000)]))
    assert sum(tag == "tr" for tag, _ in found.tags) > 1000 > sum(tag == "details" for tag, _ in found.tags)
    assert "Of 800 more" in found.text


def test_pictures_say_in_words_what_they_show() -> None:
    traffic = Traffic()
    traffic.note(NOW - 3600, 2048, 4096)
    found = Page(page(Shown([health()], traffic.last_day(NOW), NOW, "1")))
    labels = [attrs["aria-label"] for tag, attrs in found.tags if tag == "svg" and "aria-label" in attrs]
    assert "In the last 24 hours 2.0 KiB were received and 4.0 KiB sent" in labels
    assert "2 publishes on 2 days of the last year" in labels


def test_dates_that_no_calendar_has_are_shown_as_they_are() -> None:
    odd = catalogue(date=1 << 60, valid_until=1 << 62, publishes=[{"version": 1, "date": 1 << 60}])
    assert str(1 << 62) in shown([health(catalogue=odd)]).text


# -- traffic --------------------------------------------------------------------------------------------------------


def test_traffic_counts_for_its_five_minutes_and_is_forgotten_after_a_day() -> None:
    traffic = Traffic()
    traffic.note(NOW, 10, 1)
    traffic.note(NOW + 1, 30, 2)
    traffic.note(NOW + SPAN_S, 35, 2)
    day = traffic.last_day(NOW + SPAN_S)
    assert len(day) == SPANS and [(m.received, m.sent) for m in day[-2:]] == [(30, 2), (5, 0)]
    for n in range(2, 1000):
        traffic.note(NOW + n * SPAN_S, 35, 2)
    assert sum(m.received for m in traffic.last_day(NOW + 999 * SPAN_S)) == 0
    assert len(traffic._spans) == SPANS


def test_counters_that_begin_anew_and_clocks_set_back_lose_nothing() -> None:
    traffic = Traffic()
    traffic.note(NOW, 100, 100)
    traffic.note(NOW - 5 * SPAN_S, 130, 110)
    traffic.note(NOW, 7, 3)
    assert [(m.received, m.sent) for m in traffic.last_day(NOW)[-1:]] == [(137, 113)]
