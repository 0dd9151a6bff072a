# SPDX-License-Identifier: GPL-3.0-or-later
"""What signals mean to a process with nodes: to end, or to read its settings again. Trio loop, main thread."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

import trio

from gtfs.errors import GtfsError
from gtfs.events import events
from gtfs.mount.daemon import write_to
from gtfs.node.node import Node
from gtfs.node.nursery import open_flat_nursery

log = logging.getLogger(__name__)

ENDS: Final = (signal.SIGTERM, signal.SIGINT)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def ends_with_terminal() -> bool:
    """Whether SIGHUP can mean the end, as the terminal has gone. Daemons and services have none.

    Whoever has it ignored (nohup) goes on; asked before somebody listens to signals.
    """
    return has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def end_signals() -> tuple[signal.Signals, ...]:
    """Those that end the process before it reads settings again."""
    return (*ENDS, signal.SIGHUP) if ends_with_terminal() else ENDS


@asynccontextmanager
async def ended_by(*numbers: signal.Signals) -> AsyncIterator[None]:
    """What is within ends as Ctrl-C ends it, with `KeyboardInterrupt` and all cleaning up, when one of these comes."""
    if not numbers:  # who started this process ignores them all
        yield
        return
    with trio.open_signal_receiver(*numbers) as signals:
        async with open_flat_nursery() as nursery:

            async def end_task() -> None:
                async for number in signals:
                    events.info("%s: ending", signal.Signals(number).name)
                    raise KeyboardInterrupt

            nursery.start_soon(end_task)
            yield
            nursery.cancel_scope.cancel()


async def rereads(
    before: AsyncIterator[int], logfile: Path | None, descriptors: Sequence[int], *, may_end: bool = False
) -> AsyncIterator[None]:
    """At each SIGHUP open the log file again, which may have been moved away; then the settings are to be read again.

    ``before``: those since somebody began to listen. ``may_end``: what `ends_with_terminal` said; up to here one was
    the end then, and from here on it is if the terminal has gone.
    """
    heard = trio.open_signal_receiver(signal.SIGHUP) if may_end else nullcontext(before)
    with heard as signals:
        async for _ in signals:
            if may_end and not has_terminal():
                os.kill(os.getpid(), signal.SIGTERM)
                continue
            try:
                if logfile is not None:
                    write_to(logfile, *descriptors)
            except OSError as e:
                log.error("the log stays where it is: %s: %s", e.strerror, e.filename)
            yield


async def reread_task(
    before: AsyncIterator[int],
    nodes: Sequence[Node],
    logfile: Path | None,
    descriptors: Sequence[int],
    *,
    may_end: bool = False,
) -> None:
    """Do so for these nodes."""
    async for _ in rereads(before, logfile, descriptors, may_end=may_end):
        for node in nodes:
            try:
                await node.reread()
            except (GtfsError, OSError) as e:
                log.error("the settings stay as they were: %s", e)
            else:
                events.info("%s: the settings were read again", node.state.repository.path)
