# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror that left its collection is put away once, and not at all if it is listed again by then."""

from __future__ import annotations

from pathlib import Path
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
