# SPDX-License-Identifier: GPL-3.0-or-later
"""The full fetch of one torrent, a window of pieces at a time. Trio loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from gtfs.swarm.milestones import Milestones
from gtfs.swarm.pieces import Board, DiskTrouble, SwarmTimeout, Window
from gtfs.swarm.questions import Questions
from gtfs.swarm.spec import TorrentSpec
from gtfs.swarm.trouble import FileTrouble

WINDOW_BYTES = 32 << 20  # wanted at once: enough for line rate, too little to starve a reader
SPAN_BYTES = 2 << 20  # of its front, which comes first; as much again, and twice that, come next


class WholeFetch:
    """All that want all of it; see `run`. ``peers`` says how many are connected, ``begin`` is called by the first.

    ``reserve`` has room made for pieces, or raises `DiskTrouble`.
    """

    def __init__(
        self,
        spec: TorrentSpec,
        board: Board,
        milestones: Milestones,
        questions: Questions,
        trouble: FileTrouble,
        peers: Callable[[], int],
        begin: Callable[[], None],
        reserve: Callable[[range], Awaitable[None]],
    ) -> None:
        self.going_on = 0
        self._spec = spec
        self._board = board
        self._milestones = milestones
        self._questions = questions
        self._trouble = trouble
        self._peers = peers
        self._begin = begin
        self._reserve = reserve

    def _bytes_here(self) -> int:
        return self._spec.bytes_of(self._board, 0, self._spec.size)

    async def run(self, progress: Callable[[int, int], None] | None, stall_s: float, first: range) -> None:
        """See `Torrent.fetch_all`; ``first`` are pieces."""
        self._trouble.try_again()
        length = self._spec.piece_length
        window = Window(self._board, max(8, WINDOW_BYTES // length), max(2, SPAN_BYTES // length), first)
        self.going_on += 1
        try:
            if await self._fetch(window, progress, stall_s):
                return
        finally:
            self.going_on -= 1
            self._board.grade({})
            window.close()
        what = f"nothing came for {stall_s:g} s, {self._bytes_here()} of {self._spec.size} bytes are here"
        raise self._trouble.explain(SwarmTimeout, what, self._peers())

    async def _fetch(self, window: Window, progress: Callable[[int, int], None] | None, stall_s: float) -> bool:
        """Until all of it is here, or, with False, nothing came for too long."""
        most = -1
        with trio.move_on_after(stall_s) as scope, self._trouble.ending(scope):
            await self._milestones.wait_ready()
            if not self._board.is_full():
                await self._reserve(range(self._board.count))
            if self.going_on == 1:
                self._begin()
        while not scope.cancelled_caught:
            if self._trouble.reason is not None:
                raise self._trouble.explain(DiskTrouble, "it cannot be written", self._peers())
            is_wanting = window.slide()
            if self._board.count_here() > most:
                # Pieces that come and are lost again, on a full disk, are no progress.
                most = self._board.count_here()
                stalled_s = trio.current_time() + stall_s
                if progress is not None:
                    progress(self._bytes_here(), self._spec.size)
            if not is_wanting:
                await self._questions.flush()
                if not self._trouble.is_over():
                    await self._questions.learn_pieces()
                # What could not be written is told before the answer, and its pieces are held until libtorrent is
                # asked again.
                if self._board.is_full() and self._trouble.reason is None:
                    return True
                continue
            with trio.move_on_at(stalled_s) as scope:
                await self._board.wait_change()
        return False
