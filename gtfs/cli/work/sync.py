# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs sync`` where no node runs: by one for this alone."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import trio

from gtfs.cli.nodeoptions import parse
from gtfs.cli.work.running import may_ask, raise_file_limit, tell_wait
from gtfs.feed import parse_feed
from gtfs.node.node import open_node
from gtfs.node.nursery import first_error, open_flat_nursery
from gtfs.node.opening import open_source
from gtfs.node.options import NodeOptions
from gtfs.repo.repository import open_repository
from gtfs.state.config import Config
from gtfs.state.control import Tell
from gtfs.state.source import Source
from gtfs.state.state import State

_REPORTED = ("gtfs.node.sync", "gtfs.node.refusals")  # whose warnings are in what is returned, and shown with advice


@contextlib.contextmanager
def said_once() -> Iterator[None]:
    """Without -v, nothing is logged that the command tells anyway."""
    loggers = [logging.getLogger(name) for name in _REPORTED]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            if logger.getEffectiveLevel() >= logging.WARNING:
                logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def run_dry(place: Path) -> dict[str, Any]:
    """What a sync of the mirror at ``place`` would do, from what its feeds and its disk say; nobody is let in."""
    repository = open_repository(place)
    feeds = tuple(parse_feed(text) for text in Config(repository).get_all("source"))

    async def work() -> dict[str, Any]:
        with State(repository, may_be_read_only=True) as state:
            async with open_node(state, NodeOptions(offline=True, feeds=feeds)) as node:
                return await node.foresight.foresee()

    return trio.run(work)


def run(text: str, place: Path, found: Source | None, words: Sequence[str], tell: Tell) -> dict[str, Any]:
    """What was done; ``found`` None: ``place`` is the SOURCE. Raises KeyboardInterrupt for Ctrl-C, whatever it met."""
    said = parse(words)
    source = found or Source(text, place, None)
    raise_file_limit()
    tell_wait(source)

    async def work() -> dict[str, Any]:
        async with open_source(source, may_ask(said.trust), said.node) as node:
            # What an existing clone has need not be fetched.
            await node.take_up()
            done = await node.sync_once(tell)
            # Refs have moved; a node that runs on does this beside all else.
            await node.hooks.look()
            await node.event_hooks.look()
            async with open_flat_nursery() as nursery:
                await node.upkeep.look(nursery, is_busy=True)
            return done

    try:
        with said_once():
            return trio.run(work)
    except BaseExceptionGroup as group:
        if isinstance(first_error(group), KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
