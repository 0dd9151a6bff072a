# SPDX-License-Identifier: GPL-3.0-or-later
"""A nursery that ends with the one error that mattered instead of a group of one; and what a thread may ask of it.

Trio loop, but for `cancelled`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in the group that is not a mere cancellation."""
    leaves = list(_leaves(group))
    return next((e for e in leaves if not isinstance(e, trio.Cancelled)), leaves[0])


@asynccontextmanager
async def open_flat_nursery() -> AsyncIterator[trio.Nursery]:
    """Like `trio.open_nursery`, for callers who expect an error as it was raised."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        raise first_error(group) from None


def cancelled() -> bool:
    """In a thread that trio started: whether its caller was cancelled, so that work ends at the next safe place."""
    try:
        trio.from_thread.check_cancelled()
    except trio.Cancelled:
        return True
    return False
