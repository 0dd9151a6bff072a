# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel is told to forget, and did not know yet, it is told again."""

from __future__ import annotations

import errno
import os

import pyfuse3
import pytest
import trio
import trio.testing

from gtfs.mount import inodes
from gtfs.mount.kernelcache import AGAIN_S, KernelCache


class Kernel:
    """Knows of these packs, by row."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: set[int] = set()
        self.told: list[tuple[float, int]] = []
        self.error = errno.ENOENT
        monkeypatch.setattr(pyfuse3, "invalidate_inode", self.invalidate_inode)

    def invalidate_inode(self, inode: int, attr_only: bool = False) -> None:
        row = inodes.pack_row(inode)
        assert attr_only
        assert row is not None
        self.told.append((trio.current_time(), row))
        if row not in self.known:
            raise OSError(self.error, os.strerror(self.error))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def run(kernel: Kernel, known_later: tuple[int, ...], *rows: int, is_served: bool = True) -> list[tuple[float, int]]:
    """When it is told of which rows, in seconds since the first time."""

    async def main() -> list[tuple[float, int]]:
        cache = KernelCache()
        if is_served:
            cache.begin()
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cache.tell_again_task)
            await trio.lowlevel.checkpoint()
            for row in rows:
                cache.forget(row)
            kernel.known.update(known_later)
            await trio.sleep(1000)
            nursery.cancel_scope.cancel()
        return [(round(at - start, 3), row) for at, row in kernel.told]

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_it_does_not_know_it_is_told_again_until_it_did(kernel: Kernel) -> None:
    kernel.known.add(1)
    first, second = AGAIN_S
    assert run(kernel, (2,), 1, 2, 3) == [
        (0, 1), (0, 2), (0, 3), (first, 2), (first, 3), (first + second, 3),
    ]  # fmt: skip


def test_what_comes_meanwhile_waits_for_nothing_but_its_own_time(kernel: Kernel) -> None:
    async def main() -> None:
        cache = KernelCache()
        cache.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cache.tell_again_task)
            for row in (1, 2):
                await cache.forget_all([row])
                await trio.sleep(AGAIN_S[0] / 2)
            await trio.sleep(1000)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    start = kernel.told[0][0]
    first, second = AGAIN_S
    times = {row: [round(at - start, 3) for at, told in kernel.told if told == row] for row in (1, 2)}
    assert times == {1: [0, first, first + second], 2: [first / 2, first * 3 / 2, first * 3 / 2 + second]}


def test_any_other_error_is_an_answer(kernel: Kernel) -> None:
    kernel.error = errno.EINVAL
    assert run(kernel, (), 1) == [(0, 1)]


def test_before_there_is_a_session_nobody_is_told(kernel: Kernel) -> None:
    assert run(kernel, (), 1, is_served=False) == []
