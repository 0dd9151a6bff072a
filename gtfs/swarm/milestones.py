# SPDX-License-Identifier: GPL-3.0-or-later
"""How far one torrent is, from the session's knowing it to its leaving, and why it failed. Trio loop."""

from __future__ import annotations

import trio

from gtfs.errors import GtfsError
from gtfs.swarm.link import Link
from gtfs.swarm.pieces import Board


class Milestones:
    """Events; a failure sets all but `left` and `gone`, so whoever waited for one must look at the board's failure."""

    def __init__(self, board: Board, link: Link) -> None:
        self._board = board
        self._link = link
        self.entered = trio.Event()  # libtorrent has it
        self.was_checked = trio.Event()  # its file
        self.ready = trio.Event()  # the metadata is here and checked, and it is known which pieces are
        self.left = trio.Event()
        self.gone = trio.Event()  # the session has forgotten it, and who took it out does not put it in again
        self.is_leaving = False  # libtorrent was told to drop it, and must not be told twice

    def is_ready(self) -> bool:
        """Whether it may be read, as far as pieces are here."""
        return self.ready.is_set() and self._board.failure is None

    async def wait_ready(self) -> None:
        """Return when it may be read; raises its failure."""
        await self.ready.wait()
        self._board.check()

    def end_waits(self, reason: GtfsError) -> None:
        """End the waits of readers with ``reason``, now and later; the first reason stays."""
        self._board.fail(reason)
        for milestone in (self.ready, self.entered, self.was_checked):
            milestone.set()

    def fail(self, reason: GtfsError) -> None:
        """End every wait, questions to libtorrent too."""
        self.end_waits(reason)
        self._link.fail(reason)
