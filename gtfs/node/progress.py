# SPDX-License-Identifier: GPL-3.0-or-later
"""A sync's progress for who asked for it: as it comes, and each second with peers and bytes received. Trio loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from gtfs.node.nursery import open_flat_nursery
from gtfs.node.status import describe_progress
from gtfs.node.sync import Progress
from gtfs.state.control import Tell
from gtfs.swarm.session import Session

_SHOW_S = 1.0  # rates and peers are shown as often even when nothing comes


class ShownProgress:
    """What is told of one sync; made by `open_shown_progress`."""

    def __init__(self, session: Session | None, tell: Tell, before_bytes: int) -> None:
        self._session = session
        self._tell = tell
        self._before_bytes = before_bytes
        self._last: dict[str, Any] = {}

    def show(self, progress: Progress) -> None:
        """Tell it, with the swarm beside it."""
        self._last.update(describe_progress(progress))
        self._show()

    async def fetched_bytes(self) -> int:
        """What peers have sent since the sync began, as of now."""
        return await _received_bytes(self._session) - self._before_bytes

    def _show(self) -> None:
        if not self._last:
            return
        if self._session is not None:
            now = self._session.statistics()
            self._last.update(peers=now.peers, received=now.downloaded_bytes - self._before_bytes)
        self._tell(dict(self._last))

    async def show_task(self) -> None:
        """Tell the last again and again."""
        while True:
            await trio.sleep(_SHOW_S)
            self._show()


async def _received_bytes(session: Session | None) -> int:
    return 0 if session is None else (await session.refresh()).downloaded_bytes


@asynccontextmanager
async def open_shown_progress(session: Session | None, tell: Tell) -> AsyncIterator[ShownProgress]:
    """``tell`` hears of the sync in the block; ``session`` None: offline."""
    shown = ShownProgress(session, tell, await _received_bytes(session))
    async with open_flat_nursery() as nursery:
        nursery.start_soon(shown.show_task)
        yield shown
        nursery.cancel_scope.cancel()
