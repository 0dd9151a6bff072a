# SPDX-License-Identifier: GPL-3.0-or-later
"""What libtorrent reports about one torrent, taken note of in the parts that it concerns. Trio loop."""

from __future__ import annotations

import logging

import libtorrent as lt

from gtfs.swarm import alerts
from gtfs.swarm.link import Link
from gtfs.swarm.milestones import Milestones
from gtfs.swarm.pieces import Board, SwarmError
from gtfs.swarm.reader import PieceReader
from gtfs.swarm.tally import Tally
from gtfs.swarm.trouble import FileTrouble

log = logging.getLogger(__name__)


class Reports:
    """Those of one torrent."""

    def __init__(
        self,
        link: Link,
        board: Board,
        milestones: Milestones,
        reader: PieceReader,
        tally: Tally,
        trouble: FileTrouble,
    ) -> None:
        self._link = link
        self._board = board
        self._milestones = milestones
        self._reader = reader
        self._tally = tally
        self._trouble = trouble
        self._may_lack_check = False  # alerts were lost before it was said that its file is checked

    def on_dropped(self) -> None:
        """Alerts were lost: ask again whatever is waited for, and which pieces are here."""
        self._link.ask_again()
        if self._milestones.is_ready():
            self._link.call("post_status", lt.status_flags_t.query_pieces)
        elif not self._milestones.was_checked.is_set():
            self._may_lack_check = True
            self._link.call("post_status")

    def on_event(self, event: alerts.TorrentEvent) -> None:
        """Take note of one report."""
        match event:
            case alerts.PieceFinished() | alerts.PieceRead():
                if event.piece < self._board.count:  # else of metadata that does not fit the spec, about to be refused
                    self._on_piece(event)
            case alerts.TorrentStatus():
                self._on_status(event)
            case alerts.Checked():
                self._on_checked()
            case alerts.ResumeReady() | alerts.ResumeFailed():
                self._link.answer("resume", event)
            case alerts.Moved(error=error):
                self._link.answer("move", error)
            case alerts.Flushed():
                self._link.answer("flush")
            case alerts.HashFailed(piece=piece):
                log.info("%s: piece %d came with wrong bytes and was dropped", self._link.name, piece)
                self._tally.count_bad_hash()
            case alerts.TrackerSaid(url=url, error=error):
                self._tally.count_tracker(url, error)
            case alerts.ResumeRejected(reason=reason):
                log.info("%s: resume data does not fit, the file is hashed: %s", self._link.name, reason)
            case alerts.TorrentFailed(reason=reason):
                self._trouble.came(reason, is_ready=self._milestones.is_ready())
            case alerts.Added(handle=handle, error=None):
                self._link.connect(handle)
                if self._may_lack_check:
                    self._link.call("post_status")
                self._milestones.entered.set()
            case alerts.Added(error=error):
                self._milestones.fail(SwarmError(f"{self._link.name}: {error}"))
            case alerts.Removed() if self._link.handle is not None:  # else of one before it
                self._milestones.left.set()

    def _on_piece(self, event: alerts.PieceFinished | alerts.PieceRead) -> None:
        piece = event.piece
        if isinstance(event, alerts.PieceRead):
            if event.data is not None:
                self._reader.keep(piece, event.data)
            self._board.finish(piece)
            self._link.answer(f"piece {piece}", event.data)
            return
        self._tally.needs_saving = True
        self._reader.forget(piece)
        if self._board.is_waited_for(piece):
            # Right after this report the file may still be stale; libtorrent's own buffers are not.
            self._link.call("read_piece", piece)
        else:
            self._board.finish(piece)

    def _on_status(self, event: alerts.TorrentStatus) -> None:
        self._tally.count(event)
        if self._may_lack_check and event.is_checked:
            self._may_lack_check = False
            self._milestones.was_checked.set()
        if event.held is not None:
            if len(event.held) == self._board.count and not self._reader.is_vouched:
                self._board.replace(event.held)
            self._link.answer("status")

    def _on_checked(self) -> None:
        if self._milestones.is_ready() and not self._link.is_asked("check"):
            log.warning("%s: a piece on disk was damaged; the file was hashed again", self._link.name)
            self._reader.forget_all()
            self._link.call("prioritize_pieces", self._board.priorities())
            self._link.call("post_status", lt.status_flags_t.query_pieces)
        self._link.answer("check")
        self._milestones.was_checked.set()
