# SPDX-License-Identifier: GPL-3.0-or-later
"""The board of one torrent: which pieces are here, which are wanted how much, and who waits for which.

It knows neither libtorrent nor files: a callback sets priorities, the torrent tells it what finished. Trio loop only,
and no method but the ``wait_`` ones awaits, so that a check and its act are never torn apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import trio

from gtfs.errors import Blame, GtfsError


class SwarmError(GtfsError):
    """Peers, trackers or the session did not do what was asked."""

    fault = Blame.NETWORK


class SwarmTimeout(SwarmError):
    """Nothing came within the time that was allowed."""


class ReadTimeout(SwarmTimeout):
    """The pieces under a read did not come before its deadline."""


class DiskTrouble(ReadTimeout):
    """Nothing came because the torrent's file cannot be written: a full disk, a missing permission."""

    fault = Blame.SYSTEM


class NotHere(SwarmError):
    """A piece that was to be read without anybody's help is not here, or not any more."""


class Offline(SwarmError):
    """There is no session to fetch from."""


class SessionClosed(Offline):
    """The session, or this torrent's part in it, ended while something waited for it."""


# libtorrent's priorities; a higher one is asked for first.
UNWANTED = 0
IN_WINDOW = 1
SOON = 2
OWN = 3
OWN_FIRST = 4
AHEAD = 5
NOW = 7
# Of a window whose pieces nobody shares out, by how many spans they are away from its front: random within 32 MiB, the
# first missing piece would come last of all.
_NEAR = ((1, OWN_FIRST), (2, OWN), (4, SOON))


class Board:
    """The state of ``count`` pieces; ``set_priority(piece, priority)`` is called whenever a want changes."""

    def __init__(self, count: int, set_priority: Callable[[int, int], None]) -> None:
        self.count = count
        self._set_priority = set_priority
        self._here = bytearray(count)
        self._wants: dict[int, list[int]] = {}
        self._grades: dict[int, int] = {}
        self._front, self._span = count, 1
        self._first = range(0)
        self._events: dict[int, trio.Event] = {}
        self._change = trio.Event()
        self._failure: GtfsError | None = None

    @property
    def failure(self) -> GtfsError | None:
        """Why this board will never change again, or None."""
        return self._failure

    def check(self) -> None:
        """Raise the board's failure, if it has one; a copy, since several tasks may raise it."""
        if self._failure is not None:
            raise copy.copy(self._failure)

    def is_here(self, piece: int) -> bool:
        """Whether the piece's hash matched and it was not lost since."""
        return bool(self._here[piece])

    def count_here(self, first: int = 0, end: int | None = None) -> int:
        """How many of the pieces ``first`` to ``end`` (exclusive) are here."""
        return self._here.count(1, first, self.count if end is None else end)

    def is_full(self) -> bool:
        """Whether every piece is here."""
        return self.count_here() == self.count

    def missing(self, start: int = 0) -> int | None:
        """The first piece from ``start`` on that is not here."""
        found = self._here.find(0, start)
        return None if found < 0 else found

    def finish(self, piece: int) -> None:
        """Note that a piece is here now and wake those who wait for it."""
        if not self._here[piece]:
            self._here[piece] = 1
            self._wake((piece,))

    def replace(self, held: bytes) -> None:
        """Take a whole new state (one byte a piece, 0 or 1), as after a check of the file."""
        if len(held) != self.count:
            raise SwarmError(f"the torrent has {len(held)} pieces where {self.count} were expected")
        self._here[:] = held
        self._wake(piece for piece in list(self._events) if held[piece])
        for piece in self._wants:
            self._apply(piece)

    def fail(self, reason: GtfsError) -> None:
        """End every wait, now and later, with ``reason``; the first reason stays."""
        if self._failure is None:
            self._failure = reason
            self._wake(list(self._events))

    def stir(self) -> None:
        """Let those in `wait_change` look around: something other than a piece has changed."""
        self._wake(())

    def is_waited_for(self, piece: int) -> bool:
        """Whether somebody sits in `wait_held` for this piece."""
        return piece in self._events

    def is_awaited(self) -> bool:
        """Whether a reader sits in `wait_held` for a piece that is not here."""
        return any(not self._here[piece] for piece in self._events)

    def is_hungry(self) -> bool:
        """Whether any wanted piece is not here."""
        return any(not self._here[piece] for piece in self._wants)

    def want(self, pieces: Iterable[int], priority: int) -> None:
        """Add one want a piece; each must be taken back by `unwant` with the same priority."""
        for piece in pieces:
            self._wants.setdefault(piece, []).append(priority)
            self._apply(piece)

    def unwant(self, pieces: Iterable[int], priority: int) -> None:
        """Take wants back; a piece that nobody wants any more goes back to priority 0."""
        for piece in pieces:
            wants = self._wants[piece]
            wants.remove(priority)
            if not wants:
                del self._wants[piece]
            self._apply(piece)

    def in_window(self) -> list[int]:
        """The missing pieces that a full fetch wants."""
        return [piece for piece, wants in self._wants.items() if IN_WINDOW in wants and not self._here[piece]]

    def grade(self, grades: dict[int, int]) -> None:
        """Give pieces other priorities where they are wanted for no more than `IN_WINDOW`, until the next call."""
        before, self._grades = self._grades, grades
        for piece in before.keys() | grades.keys():
            if before.get(piece) != grades.get(piece):
                self._apply(piece)

    def look_from(self, front: int, span: int, first: range = range(0)) -> None:
        """Let what is wanted in windows come in its order: ``first``, then ``span`` pieces at once from ``front`` on.

        What `grade` says goes before.
        """
        changed: Iterable[int] = self._wants
        if (span, first) == (self._span, self._first) and self._front <= front:
            ends = [self._front + spans * span for spans, _ in _NEAR]
            changed = [end + n for end in ends for n in range(front - self._front)]
        self._front, self._span, self._first = front, span, first
        for piece in changed:
            if piece in self._wants:
                self._apply(piece)

    def is_near(self, piece: int) -> bool:
        """Whether it is among those that a full fetch wants next."""
        return self._nearness(piece) > IN_WINDOW

    def _nearness(self, piece: int) -> int:
        if piece in self._first:
            return AHEAD
        away = piece - self._front
        return next((priority for spans, priority in _NEAR if 0 <= away < spans * self._span), IN_WINDOW)

    def priorities(self) -> list[int]:
        """The priority of every piece, as libtorrent should see it."""
        return [self._priority(piece) for piece in range(self.count)]

    @contextmanager
    def wanting(self, pieces: Iterable[int], priority: int) -> Iterator[None]:
        """Want the pieces as long as the block runs, however it ends."""
        wanted = tuple(pieces)
        self.want(wanted, priority)
        try:
            yield
        finally:
            self.unwant(wanted, priority)

    async def wait_held(self, piece: int) -> None:
        """Return once the piece is here; raises the board's failure. The caller holds a want and a deadline."""
        while True:
            self.check()
            if self._here[piece]:
                return
            await self._events.setdefault(piece, trio.Event()).wait()

    async def wait_change(self) -> None:
        """Return when any piece came, the whole state was replaced or `stir` was called, since the call."""
        self.check()
        await self._change.wait()
        self.check()

    def _apply(self, piece: int) -> None:
        if self._failure is None and not self._here[piece]:
            self._set_priority(piece, self._priority(piece))

    def _priority(self, piece: int) -> int:
        highest = max(self._wants.get(piece, (UNWANTED,)))
        if highest > IN_WINDOW:
            return highest
        if piece in self._grades:
            return self._grades[piece]
        return self._nearness(piece) if highest == IN_WINDOW else UNWANTED

    def _wake(self, pieces: Iterable[int]) -> None:
        for piece in pieces:
            event = self._events.pop(piece, None)
            if event is not None:
                event.set()
        # An event cannot be unset: those who wait next get a new one.
        self._change.set()
        self._change = trio.Event()


class Window:
    """What a full fetch wants at a time: ``first``, and the first ``size`` pieces that are missing.

    Those at its front come first, ``span`` pieces and more at once.
    """

    def __init__(self, board: Board, size: int, span: int = 1, first: range = range(0)) -> None:
        self._board = board
        self._size = size
        self._span = span
        self._first = first
        self._pieces: set[int] = set()

    def slide(self) -> bool:
        """Let go of what came and want the next missing pieces instead; whether there are any."""
        came = {piece for piece in self._pieces if self._board.is_here(piece)}
        self._board.unwant(came, IN_WINDOW)
        self._pieces -= came
        piece = self._board.missing()
        self._board.look_from(self._board.count if piece is None else piece, self._span, self._first)
        for early in self._first:
            if len(self._pieces) < self._size and not self._board.is_here(early):
                self._want(early)
        while len(self._pieces) < self._size and piece is not None:
            self._want(piece)
            piece = self._board.missing(piece + 1)
        return bool(self._pieces)

    def _want(self, piece: int) -> None:
        if piece not in self._pieces:
            self._board.want((piece,), IN_WINDOW)
            self._pieces.add(piece)

    def close(self) -> None:
        """Want nothing any more."""
        self._board.unwant(self._pieces, IN_WINDOW)
        self._pieces = set()
        self._board.look_from(self._board.count, self._span)
