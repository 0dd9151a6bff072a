# SPDX-License-Identifier: GPL-3.0-or-later
"""Reasons as values: what follows from several, whom they blame, and that each cause has advice."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from gtfs.trust.reason import Cause, Reason, Verdict, refused, verdict_of

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


def reason(verdict: Verdict, *because: Reason) -> Reason:
    cause: Cause | None = "quorum" if verdict in ("refused", "waits") else None
    return Reason("ref", "x", verdict, "", cause, because=because)


@pytest.mark.parametrize("cause", get_args(Cause))
def test_every_cause_has_advice_where_something_does_not_hold(cause: Cause) -> None:
    assert refused("tag", "x", "it is not", cause).advice
    assert Reason("tag", "x", "waits", "not yet", cause).advice
    assert not Reason("tag", "x", "note", "once", cause).advice


def test_the_whole_holds_only_if_nothing_is_refused_or_waits() -> None:
    for verdicts in product(VERDICTS, repeat=3):
        found = verdict_of([reason(verdict) for verdict in verdicts])
        worst = "refused" if "refused" in verdicts else "waits" if "waits" in verdicts else "holds"
        assert found == worst
    assert verdict_of([]) == "holds"


def test_those_at_fault_are_the_deepest_that_do_not_hold() -> None:
    deep = reason("refused")
    tree = reason("refused", reason("holds"), reason("refused", reason("note"), deep), reason("waits"))
    assert tree.blamed() == [deep, reason("waits")]
    assert reason("holds", reason("note")).blamed() == []
    assert reason("refused", reason("note")).blamed() == [reason("refused", reason("note"))]


def test_a_reason_is_described_with_all_below_it() -> None:
    below = Reason("signature", "a" * 40, "holds", "by a key", None, ("F" * 40,), 5, "made")
    said = Reason("tag", "a" * 40, "refused", "no", "no-tag", because=(below,)).describe()
    assert said["advice"] and said["cause"] == "no-tag" and said["rule"] == "tag"
    assert said["because"] == [below.describe()]
    assert (below.describe()["who"], below.describe()["when"], below.describe()["at"]) == (["F" * 40], 5, "made")
