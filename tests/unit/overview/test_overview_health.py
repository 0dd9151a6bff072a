# SPDX-License-Identifier: GPL-3.0-or-later
"""What a status answer comes down to."""

from __future__ import annotations

import errno
import json
import os
from typing import Any, get_args

import pytest
from told import NOW, REEL, catalogue, feed, link, reel, told

from gtfs.overview.health import (
    STANDING_OF,
    STANDINGS,
    RepositoryHealth,
    Thresholds,
    exit_code,
    judge,
    ranked,
    unanswered,
)
from gtfs.overview.troubles import TroubleKind

HELD_BACK = {"ref": "refs/heads/main", "reason": "no good signature"}


def judged(*, thresholds: Thresholds = Thresholds(), **more: Any) -> RepositoryHealth:  # noqa: B008
    return judge(told(**more), NOW, thresholds)


def behind(since_s: int) -> dict[str, Any]:
    return {"catalogue": catalogue(held_back=1, behind_since=since_s), "refs_held_back": [HELD_BACK]}


CASES = [
    ({}, "fresh", None),
    (behind(NOW - 3600), "fresh", None),
    (behind(NOW - 3601), "lagging", "1 of 12 refs are behind for 1h, refs/heads/main first: no good signature"),
    ({"feeds": [feed(answered=NOW - 90000)], "started": NOW - 90000}, "lagging", "no feed has answered for 1d"),
    ({"feeds": [feed(answered=None, error="down")], "started": NOW - 90000}, "lagging", "no feed has answered for 1d"),
    ({"feeds": [feed(answered=None, error="down")]}, "fresh", "feed https://example.org/latest.asc: down"),
    ({"feeds": [feed(answered=NOW - 90000), feed()]}, "fresh", None),
    ({"feeds": [feed(freshness="it is old")]}, "fresh",
     "the freshness statement of https://example.org/latest.asc does not count: it is old"),
    ({"publish": {"outstanding": {"reason": "no key"}}}, "lagging", "publishing failed, and is tried again: no key"),
    ({"incoming": {"error": "read error"}}, "lagging", "what was written is not taken in: read error"),
    ({"incoming": {"error": f"x: {os.strerror(errno.ENOSPC)}"}}, "lagging", f"x: {os.strerror(errno.ENOSPC)}"),
    ({"following": {"error": f"y: {os.strerror(errno.ENOSPC)}"}}, "lagging", f"y: {os.strerror(errno.ENOSPC)}"),
    ({"following": {"error": "no peers yet"}}, "fresh", None),
    ({"hooks": {"failed": [{"hook": "x", "reason": "x ended with 1"}]}}, "fresh", "a hook failed: x ended with 1"),
    ({"quarantine": [{"file": "x.pack", "reason": "bad"}]}, "fresh", "1 files were refused, the last one x.pack: bad"),
    ({"catalogue": catalogue(stale=True)}, "stale", "catalogue 7 is past its Valid-Until: refs do not move"),
    ({"catalogue": catalogue(equivocation=True, stale=True)}, "equivocated",
     "the publisher signed two different catalogues of version 7"),
    ({"catalogue": catalogue(two_packs=["F" * 40])}, "equivocated",
     f"the attester {'F' * 40} signed two packs for one commit"),
    ({"swarm": {"reels": {REEL: reel(failure="false metadata")}}}, "damaged", f"reel {REEL}: false metadata"),
    ({"damaged": {REEL: "torn"}}, "damaged", f"reel {REEL}: torn"),
    ({"catalogue": None}, "empty", "it holds no catalogue"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "standing", "trouble"), CASES)
def test_each_trouble_makes_of_a_repository_what_the_page_says(
    more: dict[str, Any], standing: str, trouble: str | None
) -> None:
    found = judged(**more)
    assert (found.standing, next(iter(found.trouble), None)) == (standing, trouble)


def test_every_standing_has_a_case_or_needs_no_answer() -> None:
    assert {standing for _, standing, _ in CASES} | {"unreachable"} == set(STANDINGS)


def test_thresholds_say_from_when_on_a_repository_lags() -> None:
    assert judged(thresholds=Thresholds(max_age_s=7199)).standing == "lagging"
    assert judged(thresholds=Thresholds(max_age_s=7200)).standing == "fresh"
    assert judged(thresholds=Thresholds(max_lag_s=10), **behind(NOW - 11)).standing == "lagging"
    assert judged(thresholds=Thresholds(max_lag_s=None), **behind(1)).standing == "fresh"
    silent = {"feeds": [feed(answered=NOW - 61)], "started": 1}
    assert judged(thresholds=Thresholds(max_silence_s=60), **silent).standing == "lagging"


def test_numbers_are_those_of_the_answer() -> None:
    found = judged()
    assert (found.name, found.version, found.age, found.lag, found.held_back) == ("demo", 7, 7200, 0, 0)
    assert (found.reels_whole, found.reels, found.peers, found.ratio) == (1, 1, 1, 2.0)
    assert (found.download_rate, found.upload_rate, found.downloaded, found.uploaded) == (6, 8, 5, 10)


def test_full_copies_are_the_own_one_and_those_of_connected_peers() -> None:
    links = [link(), link(port=1), link(port=1), link(port=2, progress=0.99)]
    (whole,) = judged(swarm={"connections": links, "reels": {REEL: reel()}}).swarm
    (partial,) = judged(swarm={"connections": links, "reels": {REEL: reel(local=99)}}).swarm
    (alone,) = judged(swarm={"reels": {REEL: reel(local=99)}}).swarm
    assert (whole.full_copies, partial.full_copies, alone.full_copies) == (3, 2, 0)


def test_full_copies_are_those_of_peers_too_that_were_hung_up_on() -> None:
    (found,) = judged(swarm={"connections": [link()], "reels": {REEL: reel(copies=3)}}).swarm
    assert found.full_copies == 4


def test_who_is_connected_by_the_bell_alone_is_a_peer() -> None:
    assert judged(bell={"heard": None, "peers": 5}).peers == 5
    assert judged(bell={"heard": None, "peers": 0}).peers == 1


def test_an_answer_of_an_older_node_or_from_the_disk_does() -> None:
    old = {k: told()[k] for k in ("repository", "packs", "reels", "quarantine", "running")}
    assert judge(old, NOW, Thresholds()).standing == "empty"
    held = {k: v for k, v in catalogue().items() if k not in ("publishes", "behind_since", "two_packs")}
    assert judge({**old, "catalogue": held}, NOW, Thresholds()).standing == "fresh"


def test_neither_paths_nor_peers_nor_passwords_are_told() -> None:
    feeds = [
        feed(feed="https://me:secret@example.org/a?token=secret", error="feed https://me:secret@example.org/a: no")
    ]
    feeds += [
        feed(feed="/srv/secret/x.asc", error="/srv/secret/x.asc: No such file"),
        feed(feed="file:///srv/secret/x"),
    ]
    refused = [{"file": "x.pack", "reason": "/srv/secret/spool/1: short"}]
    text = json.dumps(
        judged(feeds=feeds, quarantine=refused, hooks={"failed": [{"hook": "x", "reason": "/srv/secret/h"}]}).describe()
    )
    assert "secret" not in text and "192.0.2.1" not in text
    assert "example.org/a" in text and "x.asc: No such file" in text
    assert "secret" not in json.dumps(unanswered("x", "the index /srv/secret/r.git/gtfs/node.db: torn").describe())


def test_the_worst_comes_first_and_no_two_have_one_name() -> None:
    found = ranked([judged(), judged(), unanswered("b", "no"), judged(catalogue=catalogue(stale=True))])
    assert [(one.name, one.standing) for one in found] == [
        ("demo", "stale"), ("b", "unreachable"), ("demo (2)", "fresh"), ("demo (3)", "fresh"),
    ]  # fmt: skip


def test_a_monitor_is_told_the_worst() -> None:
    fresh, lagging = judged(), judged(thresholds=Thresholds(max_age_s=1))
    stale, away = judged(catalogue=catalogue(stale=True)), unanswered("x", "no")
    assert exit_code([fresh, fresh]) == 0
    assert exit_code([fresh, lagging]) == 1
    assert exit_code([away, lagging]) == 3
    assert exit_code([away, lagging, stale]) == 2
    assert exit_code([unanswered("x", "no", is_damaged=True)]) == 2
    assert exit_code([]) == 3


def test_every_kind_of_trouble_makes_something_of_a_repository() -> None:
    assert set(STANDING_OF) == set(get_args(TroubleKind))
