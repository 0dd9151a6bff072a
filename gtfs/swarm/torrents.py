# SPDX-License-Identifier: GPL-3.0-or-later
"""One reel in the swarm: lazy reads, the full fetch, and what of it is here.

It does not know what a reel holds, and adds nothing to the session itself: `gtfs.swarm.session` makes and feeds it.
Trio loop only. The calls on libtorrent's handle here are those that never block (facts.md); file work is in threads.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from gtfs.errors import GtfsError
from gtfs.swarm.announcing import Announcing
from gtfs.swarm.copies import Copies
from gtfs.swarm.link import Link
from gtfs.swarm.milestones import Milestones
from gtfs.swarm.pieces import IN_WINDOW, NOW, Board, DiskTrouble, NotHere, ReadTimeout, SwarmTimeout
from gtfs.swarm.questions import Questions
from gtfs.swarm.reader import PieceReader
from gtfs.swarm.reports import Reports
from gtfs.swarm.room import NoRoom, free_bytes, reserve
from gtfs.swarm.spec import TorrentSpec, TorrentStatistics
from gtfs.swarm.tally import Tally
from gtfs.swarm.trouble import FileTrouble
from gtfs.swarm.wholefetch import WholeFetch

__all__ = ["Torrent", "TorrentSpec", "TorrentStatistics"]

log = logging.getLogger(__name__)


class Torrent:
    """A reel in the session; made by `gtfs.swarm.session.Session.add`. ``begin`` hears of each full fetch."""

    def __init__(self, spec: TorrentSpec, disk: trio.CapacityLimiter, begin: Callable[[Torrent], None]) -> None:
        self.spec = spec
        self.is_resting = False  # from the seeds, on which it hung up: what is left comes from other mirrors
        self.link = Link(spec.file_name)
        self.board = Board(spec.pieces, lambda piece, priority: self.link.call("piece_priority", piece, priority))
        self.milestones = Milestones(self.board, self.link)
        self.questions = Questions(spec, self.link, disk)
        self.tally = Tally()
        self.copies = Copies()
        self._reader = PieceReader(
            spec.path, spec.piece_length, self.board, self.link, disk, self._mend, is_vouched=spec.complete
        )
        self._disk = disk
        self._changing = trio.Lock()
        self._trouble = FileTrouble(
            self.link, self.board, lambda reason: self.tally.note(trouble=reason), self._free_bytes
        )
        self._announcing = Announcing(self.link, spec.trackers, is_quiet=spec.is_quiet)
        self._whole = WholeFetch(
            spec,
            self.board,
            self.milestones,
            self.questions,
            self._trouble,
            self.peers,
            lambda: begin(self),
            self._reserve,
        )
        self.reports = Reports(self.link, self.board, self.milestones, self._reader, self.tally, self._trouble)

    # What is known without waiting

    @property
    def failure(self) -> GtfsError | None:
        """Why this torrent is dead (bad metadata, removed, session closed), or None."""
        return self.board.failure

    @property
    def trouble(self) -> str | None:
        """Why it is dead, or why its file cannot be written just now, which is tried again by itself; or None."""
        return self.tally.statistics.trouble if self.failure is None else str(self.failure)

    def statistics(self) -> TorrentStatistics:
        """The counters as of the last second; `refresh` asks for those of this moment."""
        return self.tally.statistics

    def peers(self) -> int:
        """How many peers are connected, as of the last second."""
        return self.tally.statistics.peers

    @property
    def last_used(self) -> dict[int, float]:
        """When a reader last had a piece, on trio's clock; pieces that nobody read are missing."""
        return self._reader.last_used

    def is_ready(self) -> bool:
        """Whether the metadata is here and checked, and it is known which pieces are."""
        return self.milestones.is_ready()

    def is_fetching(self) -> bool:
        """Whether somebody wants all of it just now, and some is missing."""
        return bool(self._whole.going_on) and self.is_ready() and not self.is_complete()

    def is_complete(self) -> bool:
        """Whether every piece is here."""
        return self.board.is_full()

    def local_bytes(self, offset: int = 0, length: int | None = None) -> int:
        """How many bytes of the range are here."""
        start, end = self.spec.clip(offset, self.spec.size if length is None else length)
        return self.spec.bytes_of(self.board, start, end)

    # Waiting for content

    async def wait_metadata(self, deadline_s: float) -> None:
        """Return when the metadata is here and checked; raises `SwarmTimeout`, `BadMetainfo`, `SessionClosed`."""
        with trio.move_on_after(deadline_s):
            await self.milestones.wait_ready()
            return
        raise SwarmTimeout(f"{self.spec.file_name}: no peer gave its metadata within {deadline_s:g} s")

    async def read(self, offset: int, length: int, *, deadline_s: float, read_ahead: int = 0) -> bytes:
        """The bytes of a range, cut at the end of the file like pread(2), from pieces whose hash matched.

        ``read_ahead`` bytes after it become wanted too, for a while. Raises `ReadTimeout`, `BadMetainfo`,
        `SessionClosed`, and `DiskTrouble` as soon as the file cannot be written. A read that is cancelled or times out
        wants nothing any more.
        """
        start, end = self.spec.clip(offset, length)
        if start >= end:
            return b""
        pieces = self.spec.pieces_under(start, end)
        with trio.move_on_after(deadline_s) as scope, self._trouble.ending(scope):
            await self.milestones.wait_ready()
            ahead = self.spec.pieces_under(end, min(end + read_ahead, self.spec.size))
            if not self._is_here(pieces):
                await self._reserve(pieces)
            if not self._is_here(ahead) and not await self._has_room(ahead):
                ahead = range(0)
            added = self._reader.want_ahead(piece for piece in ahead if piece not in pieces)
            try:
                with self.board.wanting(pieces, NOW):
                    data = b"".join([await self._reader.read(piece, start, end) for piece in pieces])
                self.board.check()  # the file has holes where pieces left meanwhile
                return data
            except BaseException:
                self._reader.drop_ahead(added)
                raise
        what = f"bytes {start} to {end} did not come within {deadline_s:g} s"
        raise self._trouble.explain(ReadTimeout, what, self.peers())

    async def read_here(self, offset: int, length: int) -> bytes:
        """The same of pieces that are here; nobody is waited for. Raises a `SwarmError` where one is not, or leaves."""
        start, end = self.spec.clip(offset, length)
        if not self.is_ready():
            raise NotHere(f"{self.spec.file_name}: it is not known which pieces are here")
        pieces = self.spec.pieces_under(start, end)
        data = b"".join([await self._reader.read(piece, start, end, waits=False) for piece in pieces])
        self.board.check()
        return data

    async def fetch_all(
        self,
        progress: Callable[[int, int], None] | None = None,
        *,
        stall_s: float = 120.0,
        last_bytes: int = 0,
    ) -> None:
        """Fetch every piece; ``progress(bytes here, size)`` is called whenever some came.

        They come in their order, more or less, ``last_bytes`` of the end before all others. Raises `SwarmTimeout` when
        nothing at all came for ``stall_s`` seconds, and `DiskTrouble` at once when the file cannot be written. On
        return the file on disk is whole.
        """
        size = self.spec.size
        await self._whole.run(progress, stall_s, self.spec.pieces_under(max(0, size - last_bytes), size))

    def first_bytes(self) -> int:
        """How many bytes are here from the start on without a gap; `Questions.flush` brings them into the file."""
        missing = self.board.missing()
        return self.spec.size if missing is None else missing * self.spec.piece_length

    async def wait_last(self, last_bytes: int) -> None:
        """Return once so many bytes of the end are here; nothing is fetched for it."""
        await self.milestones.wait_ready()
        for piece in self.spec.pieces_under(max(0, self.spec.size - last_bytes), self.spec.size):
            await self.board.wait_held(piece)

    # Asking libtorrent

    def add_peer(self, address: str, port: int) -> None:
        """Dial a peer."""
        self.link.call("connect_peer", (address, port))

    async def refresh(self) -> TorrentStatistics:
        """The counters of this moment."""
        if self.is_ready():
            await self.questions.learn_pieces()
        return self.tally.statistics

    async def recheck(self) -> None:
        """Hash the whole file again and forget the pieces that it does not hold any more."""
        self._reader.forget_all()
        await self.questions.check()
        self.link.call("prioritize_pieces", self.board.priorities())
        await self.questions.learn_pieces()

    async def _mend(self, piece: int) -> None:
        """The board says that a piece is here and it is not: make the board true."""
        # Either libtorrent lost it again while writing, and knows; or it was damaged behind its back.
        await self.questions.learn_pieces()
        if self.board.is_here(piece):
            log.warning("%s: piece %d is damaged on disk; checking the file", self.spec.file_name, piece)
            await self.recheck()

    async def save_resume(self) -> None:
        """Keep what is known about the pieces, so that the next session need not hash the file."""
        self.tally.needs_saving = False
        await self.questions.save_resume()

    # Room for what is to come

    def _is_here(self, pieces: range) -> bool:
        return all(map(self.board.is_here, pieces))

    async def _make_room(self, pieces: range) -> None:
        length = self.spec.piece_length
        start, end = pieces[0] * length, min((pieces[-1] + 1) * length, self.spec.size)
        async with self.changing_file():
            await trio.to_thread.run_sync(reserve, self.spec.path, start, end, limiter=self._disk)

    async def _has_room(self, pieces: range) -> bool:
        try:
            await self._make_room(pieces)
        except OSError:
            return False
        return True

    async def _reserve(self, pieces: range) -> None:
        """Raises `DiskTrouble`."""
        try:
            await self._make_room(pieces)
        except OSError as error:
            lacking_bytes = error.lacking_bytes if isinstance(error, NoRoom) else 0
            self._trouble.lacks(error.strerror or str(error), lacking_bytes)
            raise DiskTrouble(f"{self.spec.file_name}: it cannot be written: {error.strerror}") from None

    @asynccontextmanager
    async def changing_file(self) -> AsyncIterator[None]:
        """Within, something is done to its file beside libtorrent, by one at a time. Raises the torrent's failure."""
        async with self._changing:
            self.board.check()
            yield

    async def wait_unchanged(self) -> None:
        """Return when nobody is within `changing_file` any more, after its end: whoever deletes the file is the last
        then."""
        async with self._changing:
            pass

    def _free_bytes(self) -> int:
        try:
            return free_bytes(self.spec.directory)
        except OSError:
            return 0

    # For the session

    def hinder(self, error: OSError) -> None:
        """Its metadata could not be kept; it is tried again."""
        self._trouble.came(error.strerror or str(error), is_ready=False)

    async def make_ready(self, hashes: tuple[bytes, ...]) -> None:
        """The metadata is checked and the board is filled: let readers in."""
        self._reader.hashes = hashes
        last = range(self.board.count - 1, self.board.count)
        if self._reader.is_vouched:
            self.board.replace(b"\1" * self.board.count)
            self._reader.trust_all()
        elif self._lacks_alone(last) and await self._has_room(last) and self._lacks_alone(last):
            # The last piece holds the footer, every reader's first step; and who wants nothing looks for no peers.
            self.board.want(last, IN_WINDOW)
        self.milestones.ready.set()

    def _lacks_alone(self, pieces: range) -> bool:
        """Whether one of these is missing, and nobody wants all of them."""
        return not self._whole.going_on and not self._is_here(pieces)

    def is_hungry(self) -> bool:
        """Whether peers could help: metadata or a wanted piece is missing."""
        return not self.is_ready() or (not self.spec.awaited and self.board.is_hungry())

    def is_lonely(self) -> bool:
        """Whether it is hungry and nobody is connected."""
        return self.failure is None and not self.peers() and self.is_hungry()

    def is_at_rest(self) -> bool:
        """Whether nothing changes in it but by what others do: then a `tick` in half a minute is enough."""
        if not self._trouble.is_over():
            return False
        return self.is_ready() if self.spec.awaited else self.board.is_full()

    def tick(self) -> None:
        """Called every second, or now and then while it is at rest."""
        self._reader.tick()
        is_whole = self.board.is_full()
        is_lonely = not is_whole and not self.peers() and self.is_hungry()
        self._announcing.tick(is_lonely=is_lonely, is_done=is_whole or (self.spec.awaited and self.is_ready()))
        self._trouble.tick()
