# SPDX-License-Identifier: GPL-3.0-or-later
"""There is one timer of a read, and the mount has it."""

from __future__ import annotations

import contextlib
import errno
from types import SimpleNamespace
from typing import cast

import pyfuse3
import pytest
import trio
import trio.testing

from gtfs.ids import ObjectId
from gtfs.mount import inodes
from gtfs.mount.errnos import errno_of
from gtfs.mount.firstlook import FirstLook
from gtfs.mount.handles import PackHandle
from gtfs.mount.mountpoint import REQUESTS
from gtfs.mount.names import Names
from gtfs.mount.tree import NotLocal, PackInfo, PackSource, ReadTimedOut
from gtfs.mount.waits import FileWaits, MountClosing, TooManyReads, Waits


def test_bytes_that_are_let_go_of_while_they_are_read_are_waited_for_no_longer_than_others() -> None:
    async def main() -> None:
        waits = Waits(60.0).of(0, 1000)
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
        assert await waits.of(0, 1000).run_here(fetch) == b"here"
        with pytest.raises(MountClosing):
            await waits.of(0, 1000).run(fetch)

    trio.run(main)


def test_what_a_cache_lets_go_of_after_an_open_is_waited_for_only_as_long_as_somebody_reads() -> None:
    asked: list[bool] = []

    async def read(_oid: ObjectId, _offset: int, _length: int, *, read_ahead: int, waits: bool) -> bytes:
        asked.append(waits)
        if not waits:
            raise NotLocal
        ours.close()  # as when a killed reader is found
        return await trio.sleep_forever()

    ours = Waits(60.0)
    source = cast(PackSource, SimpleNamespace(read=read))
    handle = PackHandle.opened(source, ours.of(0, 1000), PackInfo(1, ObjectId(bytes(20)), 30, 0, "verified", 30), 0)

    async def main() -> None:
        with pytest.raises(MountClosing):
            await handle.read(0, 10)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert asked == [False, True]


def test_the_reads_of_one_user_leave_others_room() -> None:
    async def here() -> bytes:
        return b"here"

    async def main() -> None:
        waits = Waits(60.0)
        greedy, other = waits.of(0, 1000), waits.of(0, 1001)
        async with trio.open_nursery() as nursery:
            for number in range(REQUESTS // 2):
                nursery.start_soon(greedy.run if number % 2 else greedy.run_here, trio.sleep_forever)
            await trio.testing.wait_all_tasks_blocked()
            for run in (greedy.run, greedy.run_here):
                with pytest.raises(TooManyReads, match="of user 1000 wait already") as refused:
                    await run(here)
                assert errno_of(refused.value) == errno.EAGAIN
            assert await other.run(here) == await other.run_here(here) == b"here"
            nursery.cancel_scope.cancel()
        assert await greedy.run(here) == b"here"

    trio.run(main)


def test_each_further_user_may_have_half_of_what_is_left_and_something_always_is() -> None:
    async def main() -> None:
        waits, given = Waits(60.0), []
        async with trio.open_nursery() as nursery:
            for uid in range(1000, 1020):
                had = waits_of(waits)
                for _ in range(REQUESTS):
                    nursery.start_soon(wait_or_not, waits.of(0, uid))
                await trio.testing.wait_all_tasks_blocked()
                given.append(waits_of(waits) - had)
            nursery.cancel_scope.cancel()
        assert given[:3] == [REQUESTS // 2, REQUESTS // 4, REQUESTS // 8]
        assert sum(given) < REQUESTS

    async def wait_or_not(file: FileWaits) -> None:
        with contextlib.suppress(TooManyReads):
            await file.run(trio.sleep_forever)

    def waits_of(waits: Waits) -> int:
        return len(waits._waits)

    trio.run(main)


def test_who_waits_for_the_packs_of_a_new_mirror_to_be_known_counts_as_who_reads() -> None:
    async def wait(_oid: ObjectId) -> None:
        await trio.sleep_forever()

    async def known(_oid: ObjectId) -> None:
        pass

    async def main() -> None:
        source = SimpleNamespace(is_listed=False, wait_known=wait, wait_listed=trio.sleep_forever, wait_listable=None)
        names = SimpleNamespace(find=lambda _name: None)
        look = FirstLook(cast(PackSource, source), cast(Names, names), Waits(60.0))
        greedy, other = (cast(pyfuse3.RequestContext, SimpleNamespace(pid=0, uid=uid)) for uid in (1000, 1001))
        async with trio.open_nursery() as nursery:
            for number in range(REQUESTS // 2):
                name = b"%040x.pack" % number
                nursery.start_soon(look.for_name, inodes.ROOT, name, greedy)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(TooManyReads):
                await look.for_name(inodes.ROOT, b"%040x.pack" % REQUESTS, greedy)
            with pytest.raises(TooManyReads):
                await look.for_directory(inodes.CONTROL, greedy)
            source.wait_known = known
            await look.for_name(inodes.ROOT, b"%040x.pack" % REQUESTS, other)
            nursery.cancel_scope.cancel()

    trio.run(main)
