# SPDX-License-Identifier: GPL-3.0-or-later
"""The same as `gtfs.node.others` where no node runs: by one without network but for feeds, for this alone."""

from __future__ import annotations

import trio

from gtfs.feed import parse_feed
from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.node.others import hear_others
from gtfs.repo.repository import Repository
from gtfs.state.config import Config
from gtfs.state.state import State


def ask_others(repository: Repository) -> None:
    """Hold the newest catalogue that the sources of the settings have; the DHT is not asked.

    Raises what `State` and `open_node` do.
    """
    feeds = tuple(parse_feed(text) for text in Config(repository).get_all("source"))

    async def work() -> None:
        with State(repository) as state:
            async with open_node(state, NodeOptions(offline=True, feeds=feeds)) as node:
                await hear_others(state, node.poller)

    trio.run(work)
