# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cache let go of and git has is encoded again when somebody asks for it, and kept as long as he does (§11).

BitTorrent has no word for it: of a reel of which next to nothing is here, nobody can ask anything. But who wants
nothing dials nobody. So whoever is interested in nothing that is here of a reel, and gets nothing from others, is hung
up on; if he comes back he wants what is not here. Trio loop.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from gtfs.errors import GtfsError
from gtfs.events import events
from gtfs.ids import ReelName
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.reel.index import ReelRow
from gtfs.state.state import State
from gtfs.swarm.peers import Taker, leave, takers
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)

_LOOK_S = 1.0
_PATIENCE_S = 3.0  # without a piece of anybody: then it is seen whether he wants one
_AWAY_S = 2.5  # not seen for so long, he was away
_FORGET_S = 90.0  # of one who does not come back: who wants something dials at least each minute
_AGAIN_S = 60.0  # after a failure, which most likely is a full disk
_COMING_S = 30.0  # after a reel was encoded: until he who asked for it should have dialled again
_LATER_S = 900.0  # the same if he gave up, as a sync does that a timer runs; while no other reel needs the room
_GOING_S = 5.0  # after nobody asks for anything of it any more


@dataclass
class _Seen:
    """A peer of a reel, by its peer id."""

    pieces: int
    since_s: float  # it has so many and is there
    last_s: float
    hung_up: bool = False


class OnDemand:
    """One cache's; ``has_room`` is asked, with its size, before a reel comes back."""

    def __init__(self, state: State, reel_torrents: ReelTorrents, has_room: Callable[[int], Awaitable[bool]]) -> None:
        self.encoded = 0  # reels so far
        self._state = state
        self._reel_torrents = reel_torrents
        self._has_room = has_room
        self._seen: dict[tuple[int, bytes], _Seen] = {}
        self._kept_until_s: dict[int, float] = {}  # of reels that were encoded again
        self._untaken_until_s: dict[int, float] = {}  # of those of them of which nobody has taken anything yet
        self._coming: int | None = None  # the reel for which there is to be room
        self._rests_until_s = 0.0
        self._never: set[ReelName] = set()  # git does not give these as they were published

    def is_asked(self, reel_id: int) -> bool:
        """Whether a reel is kept for somebody: it has come back, or is about to."""
        is_untaken = self._coming is None and trio.current_time() < self._untaken_until_s.get(reel_id, 0.0)
        return is_untaken or reel_id == self._coming or self._is_kept(reel_id)

    def _is_kept(self, reel_id: int) -> bool:
        return trio.current_time() < self._kept_until_s.get(reel_id, 0.0)

    def is_any_asked(self) -> bool:
        """Whether any has come back for somebody."""
        return any(map(self._is_kept, self._kept_until_s))

    async def run_task(self) -> None:
        """Look again and again."""
        while True:
            await trio.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Encode what somebody asks for, one reel at a time."""
        self._forget()
        # What is back is looked at without peers, too: somebody may have taken it and gone between two looks.
        back = {reel_id: self._reel_torrents.reel(reel_id) for reel_id in {*self._kept_until_s, *self._untaken_until_s}}
        here = {reel_id: torrent for reel_id, torrent in back.items() if torrent is not None}
        for reel_id, torrent in {**here, **dict(self._reel_torrents.met())}.items():
            found = await takers(torrent)
            if torrent.is_complete():
                self._note_use(reel_id, torrent, found)
                continue
            row = self._lacking(reel_id, torrent)
            if row is not None and await self._is_wanted(row, found):
                await self._bring_back(row)

    def _forget(self) -> None:
        now_s = trio.current_time()
        self._seen = {key: seen for key, seen in self._seen.items() if now_s < seen.last_s + _FORGET_S}
        for times_s in (self._kept_until_s, self._untaken_until_s):
            for reel_id in [reel_id for reel_id, until_s in times_s.items() if until_s <= now_s]:
                del times_s[reel_id]

    def _note_use(self, reel_id: int, torrent: Torrent, found: tuple[Taker, ...]) -> None:
        if reel_id not in self._kept_until_s and reel_id not in self._untaken_until_s:
            return
        until_s = self._kept_until_s.get(reel_id, 0.0)
        soon_s = trio.current_time() + _GOING_S
        if any(taker.is_interested for taker in found):
            self._kept_until_s[reel_id] = soon_s
            self._untaken_until_s.pop(reel_id, None)
        elif torrent.statistics().uploaded_bytes:  # it was taken
            self._kept_until_s[reel_id] = min(until_s, soon_s)
            self._untaken_until_s.pop(reel_id, None)

    def _lacking(self, reel_id: int, torrent: Torrent) -> ReelRow | None:
        """The reel, if it is one of which git has all and nobody here fetches the rest."""
        row = self._state.index.reels.get(reel_id)
        if row is None or row.is_whole or row.name in self._never or torrent.is_fetching() or not torrent.is_ready():
            return None
        is_in_git = self._reel_torrents.is_let_in(row) and self._reel_torrents.has_table(row)
        return row if is_in_git and self._reel_torrents.is_own(torrent) else None

    async def _is_wanted(self, row: ReelRow, found: tuple[Taker, ...]) -> bool:
        now_s = trio.current_time()
        is_wanted, leaving = False, []
        for taker in found:
            seen = self._seen.get((row.id, taker.peer_id))
            if seen is None or seen.pieces != taker.pieces:
                seen = self._seen[row.id, taker.peer_id] = _Seen(taker.pieces, now_s, now_s)
            elif now_s > seen.last_s + _AWAY_S:
                seen.since_s = now_s  # back again: others may give him what he wants
            seen.last_s = now_s
            if taker.is_interested or now_s < seen.since_s + _PATIENCE_S:
                continue  # he may go on with what is here, or with others
            is_wanted |= seen.hung_up
            if not seen.hung_up:
                seen.hung_up = True
                seen.since_s = now_s
                leaving.append(taker.connection)
        if leaving:
            await leave(leaving)
        return is_wanted

    async def _bring_back(self, row: ReelRow) -> None:
        begun_s = trio.current_time()
        if begun_s < self._rests_until_s:
            return
        self._coming = row.id
        try:
            if not await self._has_room(row.size):
                return  # once nobody asks for another one any more
            is_back = await self._reel_torrents.encode_again(row)
            await trio.lowlevel.checkpoint_if_cancelled()  # else it was stopped
        except (GtfsError, OSError) as e:
            log.warning("reel %s, for which somebody asks, cannot be encoded again just now: %s", row.name, e)
            self._rests_until_s = trio.current_time() + _AGAIN_S
            return
        finally:
            self._coming = None
        # Whatever is asked for, it takes half of the time at most.
        took_s = trio.current_time() - begun_s
        self._rests_until_s = begun_s + 2 * took_s
        if is_back:
            self.encoded += 1
            events.info("%s: reel %s was encoded again for who asks for it", self._state.repository.path, row.name)
            now_s = trio.current_time()
            self._kept_until_s[row.id] = now_s + _COMING_S + took_s
            self._untaken_until_s[row.id] = now_s + _LATER_S
        else:
            log.warning("reel %s is not seeded: git does not give all of it as it was published", row.name)
            self._never.add(row.name)
