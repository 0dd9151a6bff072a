# SPDX-License-Identifier: GPL-3.0-or-later
"""There is one timer of a read, and the mount has it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gtfs.mount.tree import ReadTimedOut
from gtfs.mount.waits import MountClosing, Waits


def test_bytes_that_are_let_go_of_while_they_are_read_are_waited_for_no_longer_than_others() -> None:
    async def main() -> None:
        waits = Waits(60.0).of(0)
        for run in (waits.run, waits.run_here):
            start = trio.current_time()
            with pytest.raises(ReadTimedOut, match="60 s"):
                await run(trio.sleep_forever)
            assert trio.current_time() == start + 60
            await trio.sleep(2)  # else the second would be the kernel's next try

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_is_here_is_read_though_the_mount_goes_away() -> None:
    async def fetch() -> bytes:
        return b"here"

    async def main() -> None:
        waits = Waits(60.0)
        waits.close()
        assert await waits.of(0).run_here(fetch) == b"here"
        with pytest.raises(MountClosing):
            await waits.of(0).run(fetch)

    trio.run(main)
