# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of one torrent's file, a full disk most often: libtorrent stops the torrent for good after one.

Who waits for all of it, or for a piece, is told at once; it is tried again by itself, and whenever somebody asks anew.
Trio loop only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import libtorrent as lt
import trio

from gtfs.swarm.link import Link
from gtfs.swarm.pieces import UNWANTED, Board, DiskTrouble, SwarmTimeout

log = logging.getLogger(__name__)

RETRY_S = 10.0  # between an error of the file and the next try


class FileTrouble:
    """See the module. ``noted`` hears the reason whenever it changes, None when the file can be written again.

    ``free`` says how many bytes there is room for: without as many as were lacking it is not tried again by itself.

    ``reason`` is what who waits is told, and None while a try goes on; ``noted`` keeps it until the try was good.
    """

    def __init__(self, link: Link, board: Board, noted: Callable[[str | None], None], free: Callable[[], int]) -> None:
        self.reason: str | None = None
        self._link = link
        self._board = board
        self._noted = noted
        self._free = free
        self._lacking_bytes = 0
        self._known: str | None = None  # what it was told last
        self._retry_s = 0.0
        self._failed_again = False
        self._waits: set[trio.CancelScope] = set()

    def lacks(self, reason: str, lacking_bytes: int) -> None:
        """There is no room for so much: whoever wanted it knows, and what others want has its room."""
        if self._known is None:
            log.error("%s: %s", self._link.name, reason)
        self._lacking_bytes = lacking_bytes
        self._failed_again = True
        self._retry_s = trio.current_time() + RETRY_S
        self._note(reason)

    def came(self, reason: str, *, is_ready: bool) -> None:
        """libtorrent reported an error and has stopped, or the metadata could not be kept."""
        if self._known is None:
            log.error("%s: %s", self._link.name, reason)
        if is_ready:
            # Pieces that were reported as finished may be lost again, by each of many errors.
            self._link.call("post_status", lt.status_flags_t.query_pieces)
        if not self._failed_again:
            self._failed_again = True
            self._retry_s = trio.current_time() + RETRY_S
            # One failure is reported many times: who asks after the first may have made room, and waits for a try.
            for scope in list(self._waits):
                scope.cancel()
        self.reason = reason
        self._note(reason)
        self._board.stir()

    @contextmanager
    def ending(self, scope: trio.CancelScope) -> Iterator[None]:
        """Cancel the scope when an error comes while the block runs."""
        self._waits.add(scope)
        try:
            yield
        finally:
            self._waits.remove(scope)

    def tick(self) -> None:
        """Called every second."""
        if self._known is None or trio.current_time() < self._retry_s:
            return
        if self._failed_again:
            if self._free() < self._lacking_bytes:
                self._retry_s = trio.current_time() + RETRY_S
            else:
                self._start_again()
        else:
            log.info("%s: its file can be written again", self._link.name)
            self.reason = None
            self._lacking_bytes = 0
            self._note(None)

    def is_over(self) -> bool:
        """Whether there is none, or the last one was tried again with success."""
        return self._known is None

    def try_again(self) -> None:
        """Somebody asks anew: there may be room by now."""
        if self.reason is not None:
            self._start_again()
            self.reason = None

    def explain(self, kind: type[SwarmTimeout], what: str, peers: int) -> SwarmTimeout:
        """Why nothing came: this trouble, if there is any, else ``kind``, as ``peers`` gave nothing."""
        if self.reason is not None:
            return DiskTrouble(f"{self._link.name}: {what}: {self.reason}")
        hint = "" if peers else "; -o peer=HOST:PORT names one that has it, and gtfs seed makes one"
        return kind(f"{self._link.name}: {what} ({peers} peers connected{hint})")

    def _start_again(self) -> None:
        self._failed_again = False
        self._retry_s = trio.current_time() + RETRY_S
        self._link.call("clear_error")
        self._link.call("unset_flags", lt.torrent_flags.upload_mode | lt.torrent_flags.paused)
        self._link.call("prioritize_pieces", [UNWANTED] * self._board.count)  # "finished", it would dial nobody
        self._link.call("prioritize_pieces", self._board.priorities())

    def _note(self, reason: str | None) -> None:
        self._known = reason
        self._noted(reason)
