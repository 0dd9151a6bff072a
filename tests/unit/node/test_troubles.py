# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a status is trouble to an operator, and how often it is told."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from gtfs.node.eventhooks import Damper
from gtfs.overview.troubles import find_troubles

HELD = {"version": 7, "equivocation": False, "stale": False, "two_packs": []}


def told(**more: Any) -> dict[str, Any]:
    return {"catalogue": HELD, "swarm": {"reels": {}}, "hooks": {"failed": []}, **more}


def test_a_node_that_is_well_has_no_trouble() -> None:
    assert find_troubles(told()) == {}
    assert find_troubles({}) == {}


def test_each_kind_of_trouble_has_a_name_and_a_reason() -> None:
    full, broken = "write: No space left on device", "read: Input/output error"
    found = find_troubles(
        told(
            catalogue={**HELD, "equivocation": True, "stale": True},
            swarm={"reels": {"r1": {"failure": full}, "r2": {"failure": broken}}},
            publish={"outstanding": {"reason": "no key"}},
            hooks={"failed": [{"hook": "post-receive", "reason": "post-receive ended with 3"}]},
        )
    )
    assert found == {
        "equivocation": "the publisher signed two different catalogues of version 7",
        "stale": "catalogue 7 is past its Valid-Until: refs do not move",
        "disk-full": "reel r1: write: No space left on device",
        "damaged": "reel r2: read: Input/output error",
        "not-published": "no key",
        "hook-failed": "post-receive ended with 3",
    }


def test_the_hook_that_tells_of_trouble_tells_nothing_of_itself() -> None:
    failed = [{"hook": "gtfs/hooks/trouble", "reason": "it ended with 1"}]
    assert find_troubles(told(hooks={"failed": failed})) == {}


def test_trouble_is_told_once_again_when_it_changes_and_when_it_is_over() -> None:
    damper = Damper()
    assert damper.settle({"stale": "a"}, 0) == {"stale": "a"}
    assert damper.settle({"stale": "a"}, 1000) == {"stale": "a"}
    assert damper.settle({"stale": "b"}, 2000) == {"stale": "b"}
    assert damper.settle({}, 3000) == {}


def test_trouble_that_comes_and_goes_is_told_less_and_less_often() -> None:
    damper, told_at, before = Damper(), [], {}
    for second in range(4000):
        now = damper.settle({"disk-full": "x"} if second % 2 else {}, second)
        if now != before:
            told_at.append(second)
        before = now
    assert len(told_at) < 10
    waits = [b - a for a, b in pairwise(told_at)]
    assert waits == sorted(waits) and waits[0] >= 60
