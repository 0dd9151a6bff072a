# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror that left its collection is put away once, and not at all if it is listed again by then."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from gtfs.collection.followed import FollowSettings, GoneRepository
from gtfs.daemon.following import CollectionFollower

pytestmark = pytest.mark.warns


class Collection:
    """With one mirror to put away, until ``is_there`` again."""

    def __init__(self) -> None:
        self.mirror = GoneRepository("a", Path("/m/a.git"), 7)
        self.is_there = False
        self.put: list[str] = []

    def gone(self) -> list[GoneRepository]:
        return [] if self.is_there else [self.mirror]

    def put_away(self, mirror: GoneRepository) -> None:
        self.put.append(mirror.name)
        self.is_there = True


@pytest.mark.parametrize("hangs_up", ["before other repositories are wanted", "while they are", "after that"])
def test_what_a_look_found_is_acted_on_though_who_asked_for_it_hung_up(hangs_up: str) -> None:
    log: list[str] = []

    async def changed() -> None:
        await trio.lowlevel.checkpoint()
        log.append("begun")
        if hangs_up == "while they are":
            scope.cancel()
            await trio.lowlevel.checkpoint()
        log.append("wanted")
        if hangs_up == "after that":
            scope.cancel()

    class Looked(Collection):
        def look(self) -> bool:
            if hangs_up == "before other repositories are wanted":
                trio.from_thread.run_sync(scope.cancel)
            return True

    scope = trio.CancelScope()

    async def main() -> Collection:
        roster: Any = None
        follower = CollectionFollower(Path("/c"), FollowSettings("c", "/c/list", Path("/m")), roster, changed)
        collection: Any = Looked()
        follower._collection = collection
        async with trio.open_nursery() as follower._nursery:
            with scope:
                await follower.look()
            assert scope.cancelled_caught
        assert log == ["begun", "wanted"]
        return collection

    assert trio.run(main).put == ["a"]


def test_what_a_look_found_is_acted_on_by_the_next_one_where_it_was_not() -> None:
    log: list[str] = []

    async def changed() -> None:
        log.append("asked")
        if len(log) == 1:
            raise OSError("for now")

    class Looked(Collection):
        def look(self) -> bool:
            return not log

    async def main() -> Collection:
        roster: Any = None
        follower = CollectionFollower(Path("/c"), FollowSettings("c", "/c/list", Path("/m")), roster, changed)
        collection: Any = Looked()
        collection.is_there = True  # that others are wanted is enough
        follower._collection = collection
        async with trio.open_nursery() as follower._nursery:
            with pytest.raises(OSError, match="for now"):
                await follower.look()
            await follower.look()
        assert log == ["asked", "asked"]
        return collection

    assert trio.run(main).put == []


@pytest.mark.parametrize(("is_back", "put"), [(False, ["a"]), (True, [])])
def test_what_two_looks_found_gone_is_put_away_once_and_stays_if_it_came_back(is_back: bool, put: list[str]) -> None:
    async def nothing() -> None: ...

    async def main() -> Collection:
        roster: Any = None
        follower = CollectionFollower(Path("/c"), FollowSettings("c", "/c/list", Path("/m")), roster, nothing)
        collection: Any = Collection()
        follower._collection = collection
        async with trio.open_nursery() as nursery, follower._one:
            nursery.start_soon(follower._act)
            nursery.start_soon(follower._act)
            await trio.testing.wait_all_tasks_blocked()
            collection.is_there = is_back
        return collection

    assert trio.run(main).put == put


def test_a_look_that_does_not_return_is_left_by_who_asked_and_what_it_does_ends_before_the_run_does() -> None:
    answers, done = threading.Event(), []

    class Hung(Collection):
        def look(self) -> bool:
            answers.wait()
            done.append("looked")
            return False

        def next_due(self) -> None: ...

    async def nothing() -> None: ...

    async def main() -> None:
        roster: Any = None
        follower = CollectionFollower(Path("/c"), FollowSettings("c", "/c/list", Path("/m")), roster, nothing)
        collection, idle = (
            Hung(),
            SimpleNamespace(run_task=trio.sleep_forever, poll_task=trio.sleep_forever, leave=nothing),
        )
        collection.is_there = True
        made: Any = (collection, idle, idle)
        follower._collection, follower._poller, follower._bell = made
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follower.run_task)
                await trio.testing.wait_all_tasks_blocked()
                with trio.move_on_after(0.01) as late:
                    await follower.look()
                assert late.cancelled_caught
                follower.scope.cancel()
                await trio.testing.wait_all_tasks_blocked()
                assert not follower.ended.is_set()  # who comes next would write beside it
                await follower.look()  # and nothing begins any more
                answers.set()
                await follower.ended.wait()
                assert done == ["looked"]
                await follower.look()
                assert done == ["looked"]
        finally:
            answers.set()

    trio.run(main)
