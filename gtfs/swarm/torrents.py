# SPDX-License-Identifier: GPL-3.0-or-later
"""One reel in the swarm: lazy reads, the full fetch, and what of it is here.

It does not know what a reel holds, and adds nothing to the session itself: `gtfs.swarm.session` makes and feeds it.
Trio loop only. The calls on libtorrent's handle here are those that never block (facts.md); file work is in threads.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import libtorrent as lt
import trio

from gtfs.errors import GtfsError
from gtfs.swarm import alerts, files
from gtfs.swarm.link import Link
from gtfs.swarm.pieces import (
    IN_WINDOW,
    NOW,
    Board,
    DiskTrouble,
    ReadTimeout,
    SwarmError,
    SwarmTimeout,
    Window,
)
from gtfs.swarm.reader import PieceReader
from gtfs.swarm.spec import TorrentSpec, TorrentStatistics
from gtfs.swarm.trouble import FileTrouble

__all__ = ["Torrent", "TorrentSpec", "TorrentStatistics"]

log = logging.getLogger(__name__)

WINDOW_BYTES = 32 << 20  # wanted at once by a full fetch: enough for line rate, too little to starve a reader
LONELY_S = 30.0  # without a peer while something is waited for; then trackers are asked again
CHECK_S = 3600.0  # hashing a whole reel again takes seconds; on a dying disk, longer


class Torrent:
    """A reel in the session; made by `gtfs.swarm.session.Session.add`."""

    def __init__(self, spec: TorrentSpec, disk: trio.CapacityLimiter) -> None:
        self.spec = spec
        self.link = Link(spec.file_name)
        self.board = Board(spec.pieces, lambda piece, priority: self.link.call("piece_priority", piece, priority))
        self.needs_saving = False
        self._vouched = spec.complete  # the board is full because the owner said so, whatever libtorrent thinks
        self._reader = PieceReader(spec.path, spec.piece_length, self.board, self.link, disk, self._mend)
        self._disk = disk
        self._statistics = TorrentStatistics()
        self._ready = trio.Event()
        self._lonely_s = trio.current_time() + LONELY_S
        self._trouble = FileTrouble(self.link, self.board, lambda reason: self._note(trouble=reason))
        self._fetches = 0  # of all of it, going on
        # Milestones; `fail` sets them all, so whoever waited must look at the failure.
        self.entered = trio.Event()
        self.was_checked = trio.Event()
        self.left = trio.Event()
        self.is_leaving = False  # libtorrent was told to drop it, and must not be told twice

    # What is known without waiting

    @property
    def failure(self) -> GtfsError | None:
        """Why this torrent is dead (bad metadata, removed, session closed), or None."""
        return self.board.failure

    def statistics(self) -> TorrentStatistics:
        """The counters as of the last second; `refresh` asks for those of this moment."""
        return self._statistics

    def peers(self) -> int:
        """How many peers are connected, as of the last second."""
        return self._statistics.peers

    @property
    def last_used(self) -> dict[int, float]:
        """When a reader last had a piece, on trio's clock; pieces that nobody read are missing."""
        return self._reader.last_used

    def is_ready(self) -> bool:
        """Whether the metadata is here and checked, and it is known which pieces are."""
        return self._ready.is_set() and self.failure is None

    def is_fetching(self) -> bool:
        """Whether somebody wants all of it just now, and some is missing."""
        return bool(self._fetches) and self.is_ready() and not self.is_complete()

    def is_complete(self) -> bool:
        """Whether every piece is here."""
        return self.board.count_here() == self.board.count

    def local_bytes(self, offset: int = 0, length: int | None = None) -> int:
        """How many bytes of the range are here."""
        start, end = self._clip(offset, self.spec.size if length is None else length)
        if start >= end:
            return 0
        size = self.spec.piece_length
        first, last = start // size, (end - 1) // size
        total = self.board.count_here(first, last + 1) * size
        if self.board.is_here(last):
            total -= (last + 1) * size - end
        if self.board.is_here(first):
            total -= start - first * size
        return total

    # Waiting for content

    async def wait_metadata(self, deadline_s: float) -> None:
        """Return when the metadata is here and checked; raises `SwarmTimeout`, `BadMetainfo`, `SessionClosed`."""
        with trio.move_on_after(deadline_s):
            await self._wait_ready()
            return
        raise SwarmTimeout(f"{self.spec.file_name}: no peer gave its metadata within {deadline_s:g} s")

    async def read(self, offset: int, length: int, *, deadline_s: float, read_ahead: int = 0) -> bytes:
        """The bytes of a range, cut at the end of the file like pread(2), from pieces whose hash matched.

        ``read_ahead`` bytes after it become wanted too, for a while. Raises `ReadTimeout`, `BadMetainfo`,
        `SessionClosed`, and `DiskTrouble` as soon as the file cannot be written. A read that is cancelled or times out
        wants nothing any more.
        """
        start, end = self._clip(offset, length)
        if start >= end:
            return b""
        pieces = self._pieces(start, end)
        with trio.move_on_after(deadline_s) as scope, self._trouble.ending(scope):
            await self._wait_ready()
            ahead = self._pieces(end, min(end + read_ahead, self.spec.size))
            added = self._reader.want_ahead(piece for piece in ahead if piece not in pieces)
            try:
                with self.board.wanting(pieces, NOW):
                    return b"".join([await self._reader.read(piece, start, end) for piece in pieces])
            except BaseException:
                self._reader.drop_ahead(added)
                raise
        what = f"bytes {start} to {end} did not come within {deadline_s:g} s"
        raise self._nothing_came(ReadTimeout, what)

    async def fetch_all(self, progress: Callable[[int, int], None] | None = None, *, stall_s: float = 120.0) -> None:
        """Fetch every piece; ``progress(bytes here, size)`` is called whenever some came.

        Raises `SwarmTimeout` when nothing at all came for ``stall_s`` seconds, and `DiskTrouble` at once when the file
        cannot be written. On return the file on disk is whole.
        """
        self._trouble.try_again()
        window = Window(self.board, max(8, WINDOW_BYTES // self.spec.piece_length))
        most = -1
        self._fetches += 1
        try:
            with trio.move_on_after(stall_s) as scope:
                await self._wait_ready()
            while not scope.cancelled_caught:
                if self._trouble.reason is not None:
                    raise self._nothing_came(DiskTrouble, "it cannot be written")
                is_wanting = window.slide()
                if self.board.count_here() > most:
                    # Pieces that come and are lost again, on a full disk, are no progress.
                    most = self.board.count_here()
                    stalled_s = trio.current_time() + stall_s
                    if progress is not None:
                        progress(self.local_bytes(), self.spec.size)
                if not is_wanting:
                    await self.flush()
                    # What could not be written is told before the answer, and its pieces are held until libtorrent
                    # is asked again.
                    if self.is_complete() and self._trouble.reason is None:
                        return
                    continue
                with trio.move_on_at(stalled_s) as scope:
                    await self.board.wait_change()
        finally:
            self._fetches -= 1
            self.board.grade({})
            window.close()
        what = f"nothing came for {stall_s:g} s, {self.local_bytes()} of {self.spec.size} bytes are here"
        raise self._nothing_came(SwarmTimeout, what)

    # Asking libtorrent

    def add_peer(self, address: str, port: int) -> None:
        """Dial a peer."""
        self.link.call("connect_peer", (address, port))

    async def refresh(self) -> TorrentStatistics:
        """The counters of this moment."""
        if self.is_ready():
            await self.learn_pieces()
        return self._statistics

    async def learn_pieces(self) -> None:
        """Fill the board from libtorrent, which needs the metadata for it."""
        await self.link.ask("status", "post_status", lt.status_flags_t.query_pieces)

    async def flush(self) -> None:
        """Return when every byte that came can be read from the file."""
        await self.link.ask("flush", "flush_cache")

    async def recheck(self) -> None:
        """Hash the whole file again and forget the pieces that it does not hold any more."""
        self._doubt()
        await self.link.ask("check", "force_recheck", within_s=CHECK_S)
        self.link.call("prioritize_pieces", self.board.priorities())
        await self.learn_pieces()

    async def _mend(self, piece: int) -> None:
        """The board says that a piece is here and it is not: make the board true."""
        # Either libtorrent lost it again while writing, and knows; or it was damaged behind its back.
        await self.learn_pieces()
        if self.board.is_here(piece):
            log.warning("%s: piece %d is damaged on disk; checking the file", self.spec.file_name, piece)
            await self.recheck()

    def _doubt(self) -> None:
        self._vouched = False
        self._reader.forget_all()

    async def save_resume(self) -> None:
        """Keep what is known about the pieces, so that the next session need not hash the file."""
        self.needs_saving = False
        answer = await self._ask_resume(lt.save_resume_flags_t.flush_disk_cache)
        await trio.to_thread.run_sync(files.keep_resume, self.spec, answer.resume, limiter=self._disk)

    async def ask_info(self) -> bytes:
        """The info dictionary that peers gave, as it came."""
        return (await self._ask_resume(lt.save_resume_flags_t.save_info_dict)).info or b""

    async def ask_banned(self) -> tuple[tuple[str, int], ...]:
        """The address and port of every peer that libtorrent will not talk to any more."""
        return (await self._ask_resume(0)).banned

    async def move_to_place(self) -> None:
        """Let the file lie where the spec says, once it is sure that it is the spec's file."""
        # Nothing was written before, so there is nothing to move; with any other flag libtorrent starts a check of
        # its own when there is a file.
        flags = lt.move_flags_t.reset_save_path_unchecked
        error = await self.link.ask("move", "move_storage", bytes(self.spec.directory), flags)
        if error is not None:
            raise SwarmError(f"{self.spec.file_name}: {error}")

    async def _ask_resume(self, flags: Any) -> alerts.ResumeReady:
        answer = await self.link.ask("resume", "save_resume_data", flags)
        if isinstance(answer, alerts.ResumeFailed):
            raise SwarmError(f"{self.spec.file_name}: {answer.reason}")
        assert isinstance(answer, alerts.ResumeReady)
        return answer

    # For the session

    def make_ready(self, hashes: tuple[bytes, ...]) -> None:
        """The metadata is checked and the board is filled: let readers in."""
        self._reader.hashes = hashes
        if self._vouched:
            self.board.replace(b"\1" * self.board.count)
            self._reader.trust_all()
        elif not self._fetches and not self.board.is_here(self.board.count - 1):
            # The last piece holds the footer, every reader's first step; and who wants nothing looks for no peers.
            self.board.want((self.board.count - 1,), IN_WINDOW)
        self._ready.set()

    def is_hungry(self) -> bool:
        """Whether peers could help: metadata or a wanted piece is missing."""
        return not self.is_ready() or self.board.is_hungry()

    def is_lonely(self) -> bool:
        """Whether it is hungry and nobody is connected."""
        return self.failure is None and not self.peers() and self.is_hungry()

    def end_waits(self, reason: GtfsError) -> None:
        """End the waits of readers with ``reason``, now and later; the first reason stays."""
        self.board.fail(reason)
        for milestone in (self._ready, self.entered, self.was_checked):
            milestone.set()

    def fail(self, reason: GtfsError) -> None:
        """End every wait, questions to libtorrent too."""
        self.end_waits(reason)
        self.link.fail(reason)

    def _call_for_peers(self) -> None:
        """Announce again while somebody waits and nobody is there: a tracker may have said to come back in an hour."""
        now = trio.current_time()
        if self._statistics.peers or not self.is_hungry():
            self._lonely_s = now + LONELY_S
        elif now >= self._lonely_s:
            self._lonely_s = now + LONELY_S
            self.link.call("force_reannounce", 0, lt.reannounce_flags_t.ignore_min_interval)

    def tick(self) -> None:
        """Called every second."""
        self._reader.tick()
        self._call_for_peers()
        self._trouble.tick()

    def on_dropped(self) -> None:
        """Alerts were lost: ask again whatever is waited for, and which pieces are here."""
        self.link.ask_again()
        if self.is_ready():
            self.link.call("post_status", lt.status_flags_t.query_pieces)

    def on_event(self, event: alerts.TorrentEvent) -> None:
        """Take note of what libtorrent reported about this torrent."""
        if isinstance(event, alerts.PieceFinished | alerts.PieceRead) and event.piece >= self.board.count:
            return  # of metadata that does not fit the spec, about to be refused
        match event:
            case alerts.PieceFinished(piece=piece):
                self.needs_saving = True
                self._reader.forget(piece)
                if self.board.is_waited_for(piece):
                    # Right after this report the file may still be stale; libtorrent's own buffers are not.
                    self.link.call("read_piece", piece)
                else:
                    self.board.finish(piece)
            case alerts.PieceRead(piece=piece, data=data):
                if data is not None:
                    self._reader.keep(piece, data)
                self.board.finish(piece)
                self.link.answer(f"piece {piece}", data)
            case alerts.TorrentStatus():
                # What was given counts for years, restarts included.
                self.needs_saving |= event.uploaded_bytes > self._statistics.uploaded_bytes
                self._note(**event.counters())
                if event.held is not None:
                    if len(event.held) == self.board.count and not self._vouched:
                        self.board.replace(event.held)
                    self.link.answer("status")
            case alerts.Checked():
                if self.is_ready() and not self.link.is_asked("check"):
                    log.warning("%s: a piece on disk was damaged; the file was hashed again", self.spec.file_name)
                    self._doubt()
                    self.link.call("prioritize_pieces", self.board.priorities())
                    self.link.call("post_status", lt.status_flags_t.query_pieces)
                self.link.answer("check")
                self.was_checked.set()
            case alerts.ResumeReady() | alerts.ResumeFailed():
                self.link.answer("resume", event)
            case alerts.Moved(error=error):
                self.link.answer("move", error)
            case alerts.Flushed():
                self.link.answer("flush")
            case alerts.HashFailed(piece=piece):
                log.info("%s: piece %d came with wrong bytes and was dropped", self.spec.file_name, piece)
                self._note(hash_failures=self._statistics.hash_failures + 1)
            case alerts.TrackerSaid(url=url, error=error):
                self._note(trackers={**self._statistics.trackers, url: error})
            case alerts.ResumeRejected(reason=reason):
                log.info("%s: resume data does not fit, the file is hashed: %s", self.spec.file_name, reason)
            case alerts.TorrentFailed(reason=reason):
                self._trouble.came(reason, is_ready=self.is_ready())
            case alerts.Added(handle=handle, error=None):
                self.link.connect(handle)
                self.entered.set()
            case alerts.Added(error=error):
                self.fail(SwarmError(f"{self.spec.file_name}: {error}"))
            case alerts.Removed():
                self.left.set()

    def _nothing_came(self, kind: type[SwarmTimeout], what: str) -> SwarmTimeout:
        if self._trouble.reason is not None:
            return DiskTrouble(f"{self.spec.file_name}: {what}: {self._trouble.reason}")
        return kind(f"{self.spec.file_name}: {what} ({self.peers()} peers connected)")

    def _note(self, **changes: Any) -> None:
        self._statistics = dataclasses.replace(self._statistics, **changes)

    async def _wait_ready(self) -> None:
        await self._ready.wait()
        self.board.check()

    def _clip(self, offset: int, length: int) -> tuple[int, int]:
        if offset < 0 or length < 0:
            raise ValueError(f"no such range: {offset}, {length}")
        return offset, min(offset + length, self.spec.size)

    def _pieces(self, start: int, end: int) -> range:
        size = self.spec.piece_length
        return range(start // size, -(-end // size)) if start < end else range(0)
