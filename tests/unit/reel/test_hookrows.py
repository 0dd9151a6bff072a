# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gtfs.ids import ObjectId
from gtfs.reel.hookrows import HookMove
from gtfs.reel.index import Index

A, B, C = (ObjectId(bytes([n]) * 20) for n in (1, 2, 3))
MAIN, TOPIC = b"refs/heads/main", b"refs/heads/topic"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index(tmp_path / "node.db") as index:
        yield index


def test_refs_held_before_the_first_time_are_no_news(index: Index) -> None:
    index.refs.set_held({MAIN: A})
    index.hooks.begin()
    index.hooks.gather(["post-receive"])
    assert index.hooks.due() == []
    index.refs.set_held({MAIN: A, TOPIC: B})
    index.hooks.begin()
    index.hooks.gather(["post-receive"])
    assert index.hooks.moves("post-receive") == [HookMove(TOPIC, None, B)]


def test_moves_gather_until_a_hook_has_heard_of_them(index: Index) -> None:
    index.hooks.begin()
    for held in ({MAIN: A}, {MAIN: B, TOPIC: A}, {MAIN: C}):
        index.refs.set_held(held)
        index.hooks.gather(["post-receive", "post-update"])
    moves = index.hooks.moves("post-receive")
    assert moves == [HookMove(MAIN, None, C)]  # the other branch came and went
    index.hooks.heard("post-receive", moves)
    assert index.hooks.due() == ["post-update"]
    index.refs.set_held({})
    index.hooks.gather(["post-receive", "post-update"])
    assert index.hooks.moves("post-receive") == [HookMove(MAIN, C, None)]
    assert index.hooks.due() == ["post-receive"]  # post-update never heard of what is gone


def test_what_moves_while_a_hook_runs_is_heard_by_the_next_run(index: Index) -> None:
    index.hooks.begin()
    index.refs.set_held({MAIN: A, TOPIC: A})
    index.hooks.gather(["hook"])
    moves = index.hooks.moves("hook")
    index.refs.set_held({MAIN: B, TOPIC: A})
    index.hooks.gather(["hook"])
    index.hooks.heard("hook", moves)
    assert index.hooks.moves("hook") == [HookMove(MAIN, A, B)]


def test_a_failure_stays_until_the_hook_ran_well_or_is_no_more(index: Index) -> None:
    index.hooks.begin()
    index.refs.set_held({MAIN: A})
    index.hooks.gather(["one", "two"])
    for hook in ("one", "one", "two"):
        index.hooks.failed(hook, 1_700_000_000, f"{hook} ended with 1")
    assert [(f.hook, f.times) for f in index.hooks.failures()] == [("one", 2), ("two", 1)]
    index.hooks.heard("one", index.hooks.moves("one"))
    assert [f.hook for f in index.hooks.failures()] == ["two"]
    index.hooks.gather(["one"])
    assert index.hooks.failures() == []
    assert index.hooks.due() == []


def test_failures_are_known_by_heart_until_something_is_written(index: Index) -> None:
    index.hooks.begin()
    index.hooks.failed("one", 1_700_000_000, "it ended with 1")
    first = index.hooks.failures()
    first.clear()  # nobody's own
    index.rest()
    assert index.rest()
    assert [f.hook for f in index.hooks.failures()] == ["one"]
    assert index.rest() is False  # it was not opened for that
    with index.transaction():
        index.hooks.heard("one", ())
        assert index.hooks.failures() == []
        index.hooks.failed("two", 1_700_000_000, "it ended with 1")
    assert [f.hook for f in index.hooks.failures()] == ["two"]
    with pytest.raises(ZeroDivisionError), index.transaction():
        index.hooks.failed("three", 1_700_000_000, "it ended with 1")
        assert len(index.hooks.failures()) == 2
        raise ZeroDivisionError
    assert [f.hook for f in index.hooks.failures()] == ["two"]


def test_it_is_quiet_while_nothing_has_moved_and_no_hook_has_to_hear_or_failed(index: Index) -> None:
    index.hooks.begin()
    assert index.hooks.is_quiet()
    index.refs.set_held({MAIN: A})
    assert not index.hooks.is_quiet()
    index.hooks.gather(["one"])
    assert not index.hooks.is_quiet()
    index.hooks.heard("one", index.hooks.moves("one"))
    assert index.hooks.is_quiet()
    index.refs.set_held({MAIN: B})
    assert not index.hooks.is_quiet()
    index.hooks.gather([])
    assert index.hooks.is_quiet()
    index.refs.set_held({})
    assert not index.hooks.is_quiet()
    index.hooks.gather([])
    index.hooks.failed("one", 1_700_000_000, "it ended with 1")
    assert not index.hooks.is_quiet()
