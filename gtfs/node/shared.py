# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes of one process have in common, beside the session. Trio loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from gtfs.node.noticing import Noticing, open_noticing
from gtfs.swarm.httpget import Client, open_client


class Shared(NamedTuple):
    """Made by `open_shared`, for as long as the nodes live."""

    client: Client
    noticing: Noticing


@asynccontextmanager
async def open_shared(proxy: str | None, given: Shared | None = None) -> AsyncIterator[Shared]:
    """One for all, or for a node that is alone; or what was ``given``, which its maker ends."""
    if given is not None:
        yield given
        return
    async with open_client(proxy) as client, open_noticing() as noticing:
        yield Shared(client, noticing)
