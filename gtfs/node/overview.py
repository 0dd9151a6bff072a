# SPDX-License-Identifier: GPL-3.0-or-later
"""The overview of this process's nodes: each judged from its own status answer, all of them served. Trio loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import trio

from gtfs.errors import GtfsError
from gtfs.node.node import Node
from gtfs.overview.health import RepositoryHealth, Thresholds, judge, unanswered
from gtfs.overview.options import OverviewOptions
from gtfs.state.damage import is_damage
from gtfs.swarm.session import Session

log = logging.getLogger(__name__)


async def judge_node(node: Node, thresholds: Thresholds, name: str | None = None) -> RepositoryHealth:
    """How a running node fares; ``name``: by which it is known, if not by its catalogue's."""
    await trio.lowlevel.checkpoint()
    try:
        return judge(await node.recent_status(), int(time.time()), thresholds, name)
    except (GtfsError, OSError) as e:
        return unanswered(name or str(node.state.repository.path.name), str(e), is_damaged=is_damage(e))


class ServedOverview:
    """Made before anything else stands, so that a port that is taken is told at once; raises `StatusRefused`."""

    def __init__(self, options: OverviewOptions) -> None:
        self._options = options
        self._listener: trio.SocketListener | None = None
        if options.place is not None:
            from gtfs.overview.server import listen_at  # takes long to load, and few nodes have it

            self._listener = listen_at(options.place)

    @property
    def url(self) -> str | None:
        """Where a browser finds it, None where it is not served."""
        if self._options.place is None or self._listener is None:
            return None
        from gtfs.overview.server import port_of

        return self._options.place.url(port_of(self._listener))

    async def run_task(
        self, look: Callable[[], Awaitable[Sequence[RepositoryHealth]]], session: Session | None
    ) -> None:
        """Serve it until cancelled, if it is to be served."""
        if self._listener is None or self._options.place is None:
            return
        from gtfs.overview.readers import AllowedReaders
        from gtfs.overview.server import OverviewServer
        from gtfs.overview.snapshot import Overview

        def counters() -> tuple[int, int]:
            moved = None if session is None else session.statistics()
            return (0, 0) if moved is None else (moved.downloaded_bytes, moved.uploaded_bytes)

        log.info("the overview is at %s", self.url)
        readers = AllowedReaders(self._options.place, self._options.let_in)
        await OverviewServer(self._listener, Overview(look, counters), readers).run_task()

    def close(self) -> None:
        """Let go of the port."""
        if self._listener is not None:
            self._listener.socket.close()
