# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch is recorded only if the one before it was (design.md §8)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gtfs.ids import ObjectId
from gtfs.ingest.behind import Behind

FIRST, SECOND = ObjectId(b"\1" * 20), ObjectId(b"\2" * 20)


class Steps:
    """Git takes everything; what of it is recorded, and what is left to come again."""

    def __init__(self, first: list[ObjectId] | Exception) -> None:
        self._first = first
        self.recorded: list[ObjectId] = []
        self.left: list[Any] = []

    def into_git(self, batch: Any) -> Any:
        return batch.members

    def leave(self, there: Any) -> None:
        self.left += there

    def record(self, batch: Any, _there: Any) -> list[ObjectId]:
        if batch.members == [FIRST]:
            if isinstance(self._first, Exception):
                raise self._first
            return self._first
        self.recorded += batch.members
        return []


def batch(oid: ObjectId) -> Any:
    return SimpleNamespace(members=[oid], oids={oid}, close=lambda: None)


def both(steps: Any) -> tuple[Behind, list[tuple[Any, list[ObjectId]] | None]]:
    """Two batches, one after the other; what is told of each."""
    told = []
    with Behind(steps, steps.record) as behind:
        behind.start(batch(FIRST))
        behind.wait_in_git()
        behind.start(batch(SECOND))
        told.append(behind.recorded())
        behind.wait_in_git()
        told.append(behind.recorded())
    return behind, told


def test_both_are_recorded_in_their_order() -> None:
    steps = Steps([])
    assert both(steps)[1] == [([FIRST], []), ([SECOND], [])]
    assert steps.recorded == [SECOND] and steps.left == []


def test_what_stands_on_a_batch_of_which_something_vanished_comes_again_too() -> None:
    steps = Steps([FIRST])
    assert both(steps)[1] == [([FIRST], [FIRST]), ([SECOND], [SECOND])]
    assert steps.recorded == [] and steps.left == [SECOND]


def test_what_stands_on_a_batch_that_could_not_be_recorded_is_left() -> None:
    steps = Steps(OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        both(steps)
    assert steps.recorded == [] and steps.left == [SECOND]
