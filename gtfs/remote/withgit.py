# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that ends with the git that waits for it: nobody wants its result then. Main thread.

A git that was killed leaves no helper behind, whichever way that waits: for a node of its own, or for the answer of
another one, which gives up what it was asked for once nobody listens.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import trio

from gtfs.cli.work.signals import end_signals, ended_by
from gtfs.node.nursery import first_error, open_flat_nursery
from gtfs.state.control import Tell, ask_node

T = TypeVar("T")


def run_with_git(work: Callable[..., Awaitable[T]], *args: object) -> T:
    """Trio, until git goes away, a signal comes (both are a KeyboardInterrupt), or it is done."""

    async def main() -> T:
        # Ctrl-C, too, as one of the signals: it comes with the end of git, and must not be raised within the end.
        ends = [number for number in end_signals() if signal.getsignal(number) is not signal.SIG_IGN]
        async with ended_by(*ends), open_flat_nursery() as nursery:
            nursery.start_soon(_end_with_git)
            try:
                return await work(*args)
            finally:
                nursery.cancel_scope.cancel()

    try:
        return trio.run(main)
    except BaseExceptionGroup as group:
        raise first_error(group) from None


def ask_with_git(directory: Path, request: Mapping[str, object], tell: Tell) -> dict[str, Any] | None:
    """See `gtfs.state.control.ask_node`; when git goes away it is a KeyboardInterrupt."""

    def tell_on(progress: dict[str, Any]) -> None:
        trio.from_thread.check_cancelled()
        tell(progress)

    async def ask() -> dict[str, Any] | None:
        # The thread, and with it the connection, ends with this process.
        return await trio.to_thread.run_sync(ask_node, directory, request, tell_on, abandon_on_cancel=True)

    return run_with_git(ask)


async def _end_with_git() -> None:
    """Git says nothing while it waits for us: that its end can be read means that it has gone."""
    try:
        await trio.lowlevel.wait_readable(sys.stdin.fileno())
    except OSError:  # a file, as a test or a curious user has it
        return
    raise KeyboardInterrupt
