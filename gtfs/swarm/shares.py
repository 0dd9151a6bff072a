# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors that fetch one reel at the same time share out who asks the seeds for which piece.

BitTorrent tells peers what others have, not what they have asked for: left alone, mirrors that start together ask a
publisher for pieces that are on their way to another mirror already, and it sends them twice. So every piece that no
mirror has yet belongs to one of them (`gtfs.swarm.rendezvous`). Each asks for its own pieces first, then for those
that another mirror has by now. Those of others wait, unless nothing comes: a mirror may be gone. Whoever has got all of
its own hangs up on the seeds and takes the rest from mirrors: libtorrent would go on asking whomever it is connected
to, and what is sent twice is missing to those who have not. Seeds need to know nothing of it, and other clients take
part as ever. Trio loop.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import trio

from gtfs.swarm.peers import Company, company, leave
from gtfs.swarm.pieces import IN_WINDOW, OWN, OWN_FIRST, SOON, UNWANTED, Board
from gtfs.swarm.rendezvous import Owners, score, scores
from gtfs.swarm.slots import Slots
from gtfs.swarm.torrents import Torrent

LOOK_S = 0.25  # between two looks at what the others have
NOTHING_S = 60.0  # the same, while nothing is fetched: `Shares.begin` says when that ends
MEET_S = 0.05  # the same, as long as a fetch has only begun
SETTLE_S = 0.7  # from the beginning of a fetch: how long whoever is being dialled is counted on
PATIENCE_S = 2.5  # without a byte or a new piece at a mirror, before those of others are asked for, too
TRICKLE_S = 10.0  # without a piece, though bytes come: they may be of somebody who wants to hold us up
IDLE_S = 5.0  # without a new piece, and a peer is taken for a reader, not for a mirror that fetches all,
IDLE_PIECES = 8  # if so many came to us since: of fifty on a slow line, nobody has one in the first ten seconds
SLOW_S = 2.5  # at less than half of the rate before, and we need the seeds whatever they have to send twice
OPENINGS = 2  # so often nothing may come; then those of others are asked for until the end
LEAST = 4  # pieces; fewer are not worth sharing: they would come later and save little
AT_ONCE = 4  # pieces to ask the seeds for: who needs them and has fewer of its own helps others
LAST = 16  # missing pieces that mirrors have are not worth going back to the seeds for


def first_grades(mine: bytes, pieces: Collection[int]) -> dict[int, int]:
    """For `Board.grade`, as long as nobody else is known: a few that are most likely our own; ``mine`` are `scores`."""
    first = heapq.nlargest(AT_ONCE, pieces, key=lambda piece: score(mine, piece))
    return {**dict.fromkeys(pieces, UNWANTED), **dict.fromkeys(first, OWN_FIRST)}


class Dealt(NamedTuple):
    """What came of a deal: the scores of all that it was among, by peer id, and what each owns."""

    scores: dict[bytes, bytes]
    owners: Owners


class Fetch:
    """What is remembered of one torrent as long as all of it is being fetched; ``me`` is our own peer id."""

    def __init__(self, me: bytes, board: Board) -> None:
        self.needs_seeds = True  # as of the last call of `grades`
        self.mirrors = 0  # that are connected, the same
        self.met: set[bytes] = set()  # the mirrors that were seen before they had everything
        self._me = me
        self._board = board
        self._missing = board.count - board.count_here()  # when it began
        self._began_s: float | None = None
        self._first_bytes = 0
        self._bytes, self._bytes_s = -1, 0.0
        self._reached = 0  # how many pieces some mirror has
        self._held, self._held_s = -1, 0.0
        self._rate = self._pace = 0.0  # bytes and pieces a second, until all of our own were here
        self._course: deque[tuple[float, int, int]] = deque()  # of the last `SLOW_S` since: when, bytes, pieces reached
        self._is_open = False
        self._openings = 0
        self._reached_by_then = 0
        self._is_slow = False
        self._scores: dict[bytes, bytes] = {}
        self._among: list[bytes] = []
        self._dealt_among: list[bytes] = []
        self._owners = Owners(b"", (), 0)
        self._seen: dict[
            bytes, tuple[int, float, int]
        ] = {}  # how many a peer had, since when, and how many we had then

    def is_new(self, now_s: float) -> bool:
        """Whether it has only begun."""
        return self._began_s is None or now_s < self._began_s + SETTLE_S

    def due_deal(self, found: Company, now_s: float) -> Callable[[], Dealt] | None:
        """See among whom the pieces are dealt out by now.

        Where they have to be dealt anew, how, for a thread, as it takes long: what comes of it `take_deal` is given.
        """
        self._among = self._busy(found, now_s)
        if not self._among or self._missing < LEAST or self._among == self._dealt_among:
            return None
        # No others: whoever comes with a new peer id each time would fill the memory.
        known = {peer_id: self._scores.get(peer_id) for peer_id in (self._me, *self._among)}
        return partial(_deal, known, self._me, self._board.count)

    def take_deal(self, dealt: Dealt) -> None:
        """The pieces are dealt anew."""
        self._scores, self._owners = dealt
        self._dealt_among = self._among

    def grades(self, found: Company, downloaded_bytes: int, now_s: float) -> dict[int, int]:
        """For `Board.grade`: the priorities of those pieces of the window that are not to have the usual one.

        `due_deal` comes first.
        """
        self._look(found, downloaded_bytes, now_s)
        self.needs_seeds = True
        self.mirrors = len(found.mirrors)
        self.met.update(found.mirrors)
        if self._missing < LEAST:
            return {}
        window = self._board.in_window()
        if not self._among:
            is_meeting = bool(found.coming) and self.is_new(now_s)
            return first_grades(self._score(self._me), window) if is_meeting else {}
        own, others = self._owners.share(
            piece for piece in range(self._board.count) if not found.spread[piece] and not self._board.is_here(piece)
        )
        if own:
            self._course.clear()
        else:
            few = self._missing - self._came() <= LAST and not others
            self._look_resting(downloaded_bytes, now_s, is_ending=few)
        self.needs_seeds = bool(own) or self._is_slow or self._is_open
        wanted = {piece for piece in window if not found.spread[piece]}
        own.sort(key=lambda piece: (piece not in wanted, not self._board.is_near(piece)))
        # Of those behind the window only as many as keep the seeds from being asked for what mirrors have.
        own = own[: max(AT_ONCE, sum(piece in wanted for piece in own))]
        others = [piece for piece in others if piece in wanted]
        half = (len(own) + 1) // 2
        return {
            # What others have is theirs to give: the seeds are asked for our own first.
            **{piece: SOON if self._board.is_near(piece) else IN_WINDOW for piece in window if found.spread[piece]},
            **({} if self._is_open else dict.fromkeys(wanted, UNWANTED)),
            **dict.fromkeys(own[:half], OWN_FIRST),
            **dict.fromkeys(own[half:], OWN),
            **dict.fromkeys(others[: max(0, AT_ONCE - len(own))] if self._is_slow else (), OWN),
        }

    def _look(self, found: Company, downloaded_bytes: int, now_s: float) -> None:
        if self._began_s is None:
            self._began_s, self._first_bytes = now_s, downloaded_bytes
        held = self._board.count_here()
        reached = sum(found.spread)
        if downloaded_bytes != self._bytes or reached > self._reached:
            # What others get will come to us, too: of many, most have nothing to ask the seeds for.
            self._bytes, self._reached, self._bytes_s = downloaded_bytes, reached, now_s
        if held != self._held:
            self._held, self._held_s = held, now_s
        if now_s >= min(self._bytes_s + PATIENCE_S, self._held_s + TRICKLE_S):
            if not self._is_open:
                self._openings += 1
                self._reached_by_then = reached
            self._is_open = True
        elif self._is_open and self._openings < OPENINGS and reached >= self._reached_by_then + AT_ONCE:
            # Of fifty that begin, one has to wait for longer than its patience: others do their part all the same.
            self._is_open = False
            self._held_s = now_s

    def _came(self) -> int:
        """How many pieces came since it began."""
        return self._board.count_here() - self._board.count + self._missing

    def _look_resting(self, downloaded_bytes: int, now_s: float, *, is_ending: bool) -> None:
        """See whether it comes as fast without the seeds as it did with them."""
        if not self._course:
            # What came in a moment is no rate.
            took_s = max(now_s - (self._began_s or 0.0), SLOW_S)
            self._rate = (downloaded_bytes - self._first_bytes) / took_s
            self._pace = self._came() / took_s
        self._course.append((now_s, downloaded_bytes, self._reached))
        while self._course[0][0] <= now_s - SLOW_S:
            then_s, then_bytes, then_reached = self._course.popleft()
            is_little = (downloaded_bytes - then_bytes) / (now_s - then_s) < self._rate / 2
            # As long as the seeds give others what they gave us, they have better to do than to send it twice.
            is_busy = (self._reached - then_reached) / (now_s - then_s) >= self._pace / 2
            # Once and for all: else we would hang up again as soon as it is better.
            self._is_slow |= is_little and not is_busy and not is_ending

    def _busy(self, found: Company, now_s: float) -> list[bytes]:
        """Who has got a piece lately, or has not had the time to."""
        seen, self._seen = self._seen, {}
        ours = self._board.count_here()
        for peer_id, held in found.mirrors.items():
            before = seen.get(peer_id)
            is_same = before is not None and before[0] == held
            self._seen[peer_id] = before if before is not None and is_same else (held, now_s, ours)
        return sorted(
            peer_id
            for peer_id, (_, since_s, then) in self._seen.items()
            if now_s < since_s + IDLE_S or ours < then + IDLE_PIECES
        )

    def _score(self, peer_id: bytes) -> bytes:
        if peer_id not in self._scores:
            self._scores[peer_id] = scores(peer_id, self._board.count)
        return self._scores[peer_id]


def _deal(known: Mapping[bytes, bytes | None], me: bytes, pieces: int) -> Dealt:
    """The scores of these peers, where they are not known, and what each owns. Takes long: in a thread."""
    made = {peer_id: theirs or scores(peer_id, pieces) for peer_id, theirs in known.items()}
    return Dealt(made, Owners(made[me], [theirs for peer_id, theirs in made.items() if peer_id != me], pieces))


class Shares:
    """``me`` is our own peer id; ``torrents`` gives all that are in the session, whose ``slots`` are chosen here."""

    def __init__(self, me: bytes, torrents: Callable[[], Sequence[Torrent]], slots: Slots) -> None:
        self._me = me
        self._torrents = torrents
        self._slots = slots
        self._fetches: dict[Torrent, Fetch] = {}
        self._begun = trio.Event()

    def begin(self, torrent: Torrent) -> None:
        """A full fetch begins: little is asked for until we have looked around."""
        board = torrent.board
        missing = [piece for piece in range(board.count) if not board.is_here(piece)]
        board.grade(first_grades(scores(self._me, board.count), missing))
        self._begun.set()

    async def run_task(self) -> None:
        """Share the work, as long as the session lives."""
        while True:
            is_new = any(fetch.is_new(trio.current_time()) for fetch in self._fetches.values())
            with trio.move_on_after(MEET_S if is_new else LOOK_S if self._fetches else NOTHING_S):
                await self._begun.wait()
            self._begun = trio.Event()
            known, self._fetches = self._fetches, {}
            for torrent in self._torrents():
                if torrent.is_fetching():
                    fetch = self._fetches[torrent] = known.get(torrent) or Fetch(self._me, torrent.board)
                    await self._share(torrent, fetch)
                else:
                    torrent.is_resting = False
            self._slots.choose(max((fetch.mirrors for fetch in self._fetches.values()), default=0))

    async def _share(self, torrent: Torrent, fetch: Fetch) -> None:
        found = await company(torrent)
        deal = fetch.due_deal(found, trio.current_time())
        if deal is not None:
            fetch.take_deal(await trio.to_thread.run_sync(deal))
        if not torrent.is_fetching():
            return
        torrent.board.grade(fetch.grades(found, torrent.statistics().downloaded_bytes, trio.current_time()))
        others = [connection for peer_id, connection in found.seeds.items() if peer_id not in fetch.met]
        # A reader may want what no mirror has; and of many seeds each sends little.
        torrent.is_resting = (
            not fetch.needs_seeds and not torrent.board.is_awaited() and len(others) < len(found.mirrors)
        )
        if torrent.is_resting and others:
            await leave(others)
