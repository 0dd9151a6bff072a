# SPDX-License-Identifier: GPL-3.0-or-later
"""What signals mean to a process with nodes: to end, or to read its settings again. Trio loop, main thread."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from gtfs.errors import GtfsError
from gtfs.mount.daemon import write_to
from gtfs.node.node import Node
from gtfs.node.nursery import open_flat_nursery

log = logging.getLogger(__name__)


def end_signals() -> tuple[signal.Signals, ...]:
    """Those that end the process.

    SIGHUP is one of them only where there is a controlling terminal, which has gone then: daemons and services have
    none. Whoever has it ignored (nohup) goes on.
    """
    ends = (signal.SIGTERM, signal.SIGINT)
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return ends
    return ends if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*ends, signal.SIGHUP)


@asynccontextmanager
async def ended_by(*numbers: signal.Signals) -> AsyncIterator[None]:
    """What is within ends as Ctrl-C ends it, with `KeyboardInterrupt` and all cleaning up, when one of these comes."""
    with trio.open_signal_receiver(*numbers) as signals:
        async with open_flat_nursery() as nursery:

            async def end_task() -> None:
                async for number in signals:
                    log.info("%s: ending", signal.Signals(number).name)
                    raise KeyboardInterrupt

            nursery.start_soon(end_task)
            yield
            nursery.cancel_scope.cancel()


async def reread_task(
    signals: AsyncIterator[int], nodes: Sequence[Node], logfile: Path | None, descriptors: Sequence[int]
) -> None:
    """At each signal: open the log file again, which may have been moved away, and read the nodes' settings."""
    async for _ in signals:
        try:
            if logfile is not None:
                write_to(logfile, *descriptors)
        except OSError as e:
            log.error("the log stays where it is: %s: %s", e.strerror, e.filename)
        for node in nodes:
            try:
                await node.reread()
            except (GtfsError, OSError) as e:
                log.error("the settings stay as they were: %s", e)
            else:
                log.info("the settings of %s were read again", node.state.repository.path)
