# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors that fetch one reel at the same time share out who asks the seeds for which piece.

BitTorrent tells peers what others have, not what they have asked for: left alone, mirrors that start together ask a
publisher for pieces that are on their way to another mirror already, and it sends them twice. So every piece that no
mirror has yet belongs to one of them (`gtfs.swarm.rendezvous`). Each asks for its own pieces first, then for those
that another mirror has by now. Those of others wait, unless nothing comes: a mirror may be gone. Seeds need to know
nothing of it, and other clients take part as ever. Trio loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from gtfs.swarm.peers import Company, company
from gtfs.swarm.pieces import IN_WINDOW, OWN, OWN_FIRST, SOON, UNWANTED, Board
from gtfs.swarm.rendezvous import Owners, scores
from gtfs.swarm.torrents import Torrent

LOOK_S = 0.25  # between two looks at what the others have
PATIENCE_S = 2.5  # without a byte, before the pieces of others are asked for, too; the counters are a second old
TRICKLE_S = 10.0  # without a piece, though bytes come: they may be of somebody who wants to hold us up
IDLE_S = 5.0  # without a new piece, and a peer is taken for a reader, not for a mirror that fetches all
PIECES_EACH = 2  # fewer are not worth sharing: they would come later and save little
AT_ONCE = 4  # pieces to ask the seeds for: who has fewer of its own helps others


class Fetch:
    """What is remembered of one torrent as long as all of it is being fetched; ``me`` is our own peer id."""

    def __init__(self, me: bytes, board: Board) -> None:
        self._me = me
        self._board = board
        self._missing = board.count - board.count_here()  # when it began
        self._bytes, self._bytes_s = -1, 0.0
        self._held, self._held_s = -1, 0.0
        self._is_open = False
        self._scores: dict[bytes, bytes] = {}
        self._among: list[bytes] = []
        self._owners = Owners(b"", ())
        self._seen: dict[bytes, tuple[int, float]] = {}  # the pieces that a peer had, and since when

    def grades(self, found: Company, downloaded_bytes: int, now_s: float) -> dict[int, int]:
        """For `Board.grade`: the priorities of those pieces of the window that are not to have the usual one."""
        self._look(downloaded_bytes, now_s)
        busy = self._busy(found, now_s)
        if not found.seeds or not busy or self._missing < PIECES_EACH * (len(busy) + 1):
            return {}
        window = self._board.in_window()
        wanted = [piece for piece in window if not found.spread[piece]]
        if busy != self._among:
            self._among = busy
            self._owners = Owners(self._score(self._me), [self._score(peer_id) for peer_id in busy])
        own, others = self._owners.share(wanted)
        own.sort(key=lambda piece: not self._board.is_near(piece))
        half = (len(own) + 1) // 2
        return {
            # What others have is theirs to give: the seeds are asked for our own first.
            **{piece: SOON if self._board.is_near(piece) else IN_WINDOW for piece in window if found.spread[piece]},
            **({} if self._is_open else dict.fromkeys(wanted, UNWANTED)),
            **dict.fromkeys(own[:half], OWN_FIRST),
            **dict.fromkeys(own[half:], OWN),
            **dict.fromkeys(others[: max(0, AT_ONCE - len(own))], OWN),
        }

    def _look(self, downloaded_bytes: int, now_s: float) -> None:
        held = self._board.count_here()
        if downloaded_bytes != self._bytes:
            self._bytes, self._bytes_s = downloaded_bytes, now_s
        if held != self._held:
            self._held, self._held_s = held, now_s
        if now_s >= min(self._bytes_s + PATIENCE_S, self._held_s + TRICKLE_S):
            self._is_open = True

    def _busy(self, found: Company, now_s: float) -> list[bytes]:
        """Who has got a piece lately, or has not had the time to."""
        seen, self._seen = self._seen, {}
        for peer_id, held in found.mirrors.items():
            before = seen.get(peer_id)
            self._seen[peer_id] = before if before is not None and before[0] == held else (held, now_s)
        return sorted(peer_id for peer_id, (_, since_s) in self._seen.items() if now_s < since_s + IDLE_S)

    def _score(self, peer_id: bytes) -> bytes:
        if peer_id not in self._scores:
            self._scores[peer_id] = scores(peer_id, self._board.count)
        return self._scores[peer_id]


class Shares:
    """``me`` is our own peer id; ``torrents`` gives all that are in the session."""

    def __init__(self, me: bytes, torrents: Callable[[], Sequence[Torrent]]) -> None:
        self._me = me
        self._torrents = torrents
        self._fetches: dict[Torrent, Fetch] = {}

    async def run_task(self) -> None:
        """Share the work, as long as the session lives."""
        while True:
            await trio.sleep(LOOK_S)
            known, self._fetches = self._fetches, {}
            for torrent in [t for t in self._torrents() if t.is_fetching()]:
                fetch = self._fetches[torrent] = known.get(torrent) or Fetch(self._me, torrent.board)
                found = await company(torrent)
                downloaded_bytes = torrent.statistics().downloaded_bytes
                torrent.board.grade(fetch.grades(found, downloaded_bytes, trio.current_time()))
