# SPDX-License-Identifier: GPL-3.0-or-later
"""A collection whose state cannot be read yet is tried again, and its mirrors run then."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from gtfs.collection.followed import FollowedCollection, FollowSettings
from gtfs.daemon.following import CollectionFollower
from gtfs.node.options import NodeOptions

pytestmark = pytest.mark.warns


@pytest.mark.parametrize("is_hurried", [False, True])
def test_a_collection_that_could_not_be_read_is_followed_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_hurried: bool
) -> None:
    failures = [errno.ENOSPC] if is_hurried else [errno.ENOSPC, errno.EIO]

    def read(root: Path, settings: FollowSettings) -> FollowedCollection:
        if failures:
            error = failures.pop(0)
            raise OSError(error, os.strerror(error), str(root))
        return FollowedCollection(root, settings)

    monkeypatch.setattr("gtfs.daemon.following.FollowedCollection", read)
    roster: Any = SimpleNamespace(
        session=None, shared=SimpleNamespace(client=None), read_options=lambda _: SimpleNamespace(node=NodeOptions())
    )
    settings = FollowSettings("c", str(tmp_path / "list"), tmp_path / "mirrors")

    async def main() -> None:
        runs = trio.Event()

        async def changed() -> None:
            await trio.lowlevel.checkpoint()
            runs.set()

        follower = CollectionFollower(tmp_path / "c", settings, roster, changed)
        await follower.open()
        assert "No space left" in follower.describe()["trouble"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.run_task)
            await trio.testing.wait_all_tasks_blocked()
            began_s = trio.current_time()
            if is_hurried:
                follower.hurry()
            await runs.wait()
            assert failures == []
            assert trio.current_time() - began_s == (0 if is_hurried else 30)
            assert follower.describe()["trouble"] == "nothing is held of it yet"
            follower.scope.cancel()
        assert follower.ended.is_set()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
