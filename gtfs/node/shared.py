# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes of one process have in common, beside the session. Trio loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import trio

from gtfs.node.noticing import Noticing, open_noticing
from gtfs.swarm.httpget import Client, open_client
from gtfs.swarm.names import looking_up_apart

AT_ONCE: Final = 40  # as many as trio has for everything else


class Shared(NamedTuple):
    """Made by `open_shared`, for as long as the nodes live.

    What may wait for as long as it likes has threads of its own: else forty hooks that hang, or repositories whose web
    directory lies on a dead server, would leave none for all else that all nodes do.
    """

    client: Client
    noticing: Noticing
    programs: trio.CapacityLimiter  # threads that wait for hooks, and for git at its packs
    places: trio.CapacityLimiter  # threads that write checkouts and web directories, for which hooks may wait


@asynccontextmanager
async def open_shared(proxy: str | None, given: Shared | None = None) -> AsyncIterator[Shared]:
    """One for all, or for a node that is alone; or what was ``given``, which its maker ends."""
    if given is not None:
        yield given
        return
    with looking_up_apart():
        async with open_client(proxy) as client, open_noticing() as noticing:
            yield Shared(client, noticing, trio.CapacityLimiter(AT_ONCE), trio.CapacityLimiter(AT_ONCE))
