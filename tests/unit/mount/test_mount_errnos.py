# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import logging

import pyfuse3
import pytest
import trio
import trio.testing

from gtfs.errors import Blame, GtfsError
from gtfs.mount.errnos import answering, errno_of
from gtfs.mount.tree import NotLocal, NotTakeable, ReadTimedOut
from gtfs.mount.waits import MountClosing, ReaderStopped, Waits
from gtfs.pack.format import CorruptPack, LimitExceeded


class _Refused(GtfsError):
    fault = Blame.TRUST


class _Busy(GtfsError):
    fault = Blame.BUSY


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (CorruptPack("x"), errno.EBADMSG),
        (LimitExceeded("object_bytes", 1, 2), errno.EBADMSG),
        (_Refused("x"), errno.EACCES),
        (_Busy("x"), errno.EBUSY),
        (ReadTimedOut(), errno.ETIMEDOUT),
        (NotLocal(), errno.ENODATA),
        (MountClosing(), errno.ESHUTDOWN),
        (TimeoutError(), errno.ETIMEDOUT),
        (ReaderStopped(), errno.EINTR),
        (NotTakeable("x"), errno.EBADMSG),
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (FileNotFoundError(errno.ENOENT, "gone"), errno.ENOENT),
        (OSError("no number"), errno.EIO),
        (GtfsError("x"), errno.EIO),
        (ValueError("bug"), errno.EIO),
    ],
)
def test_each_error_has_its_errno(error, number):
    assert errno_of(error) == number


@pytest.mark.parametrize("blame", Blame)
def test_whoever_is_blamed_there_is_an_errno_for_it(blame):
    class Failure(GtfsError):
        fault = blame

    assert errno_of(Failure("x")) > 0


@pytest.mark.warns
def test_a_handler_raises_nothing_but_fuse_errors(caplog):
    @answering
    async def handler(error: BaseException) -> None:
        raise error

    async def main() -> None:
        for error in (
            CorruptPack("x"),
            OSError(errno.ENOSPC, "full"),
            ValueError("bug"),
            pyfuse3.FUSEError(errno.EPERM),
        ):
            with pytest.raises(pyfuse3.FUSEError):
                await handler(error)

    with caplog.at_level(logging.INFO):
        trio.run(main)
    assert [r.exc_info is not None for r in caplog.records if r.levelno == logging.ERROR] == [True]


def test_a_handler_lets_cancellation_pass():
    @answering
    async def handler() -> None:
        await trio.sleep_forever()

    async def main() -> None:
        with trio.move_on_after(0.01) as scope:
            await handler()
        assert scope.cancelled_caught

    trio.run(main)


def test_waits_end_at_the_deadline_at_close_and_ever_after():
    async def main() -> None:
        with pytest.raises(ReadTimedOut):
            await Waits(0.01).run(trio.sleep_forever)
        waits = Waits(1000)
        ended = []

        async def wait() -> None:
            with pytest.raises(MountClosing):
                await waits.run(trio.sleep_forever)
            ended.append(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            waits.close()
        assert ended == [1, 1]
        with pytest.raises(MountClosing):
            await waits.run(trio.sleep_forever)

    trio.run(main)


def test_a_wait_returns_its_data():
    async def fetch() -> bytes:
        return b"data"

    async def main() -> None:
        assert await Waits(10).run(fetch) == b"data"

    trio.run(main)
