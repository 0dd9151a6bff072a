# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a session dials, and that nobody is given up: two that are up, and of which one wants something, meet.

libtorrent would part them in two ways. A torrent gives a peer up for ever at its third failure, so that a mirror that
was away for ten seconds is not dialled again as long as anybody else is connected. And two that dial each other at
once both hang up on the connection that came in (peer_list::update_peer_port), wait for `min_reconnect_time`, and dial
each other at once again, for ever where the round trip is longer than their seconds are apart. Trio loop only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from gtfs.swarm.addresses import AddressBook, Peer
from gtfs.swarm.torrents import Torrent

FAILURES = 100  # after so many a peer would not be dialled again; libtorrent counts to 31
REST_S = 30  # the same, when all that want something have hung up on those who have everything
WAITS_S = (1, 2)  # before a peer is dialled again, times one more than its failures: one of these, thrown each second
TELL_AGAIN = 30  # ticks between two times that a torrent which has peers hears of those whom the session knows
TOLD_AT_ONCE = 2000  # peers, to torrents that wait for what is still to be made and have others to wait with


class Dialling:
    """``peers`` are those that the user gave for every torrent; the rest is in ``addresses``."""

    def __init__(self, addresses: AddressBook, peers: tuple[Peer, ...]) -> None:
        self._addresses = addresses
        self._peers = peers
        self._failures = FAILURES
        self._ticks = 0

    def tell(self, torrent: Torrent, most_met: int | None = None) -> None:
        """Tell libtorrent whom to dial for a torrent; of those who answered at another one, the last ``most_met``."""
        for address, port in self._addresses.addresses((*torrent.spec.peers, *self._peers)):
            torrent.add_peer(address, port)
        # Who has one reel of a repository most likely has its next one, of which no tracker may have heard yet.
        met = self._addresses.met()
        for address, port in met if most_met is None else met[-most_met:]:
            torrent.add_peer(address, port)

    def tick(
        self, session: Any, lively: Sequence[Torrent], everybody: Callable[[], Sequence[Torrent]], *, is_probing: bool
    ) -> None:
        """Called every second with all that are not at rest; ``everybody`` gives the others, too.

        ``is_probing`` tells whether peers are looked for beside theirs.
        """
        self._ticks += 1
        hungry = [torrent for torrent in lively if torrent.failure is None and torrent.is_hungry()]
        if hungry or is_probing:
            is_resting = not is_probing and all(torrent.is_resting for torrent in hungry)
            session.apply_settings(self._settings(is_resting=is_resting))
        is_turn = self._ticks % TELL_AGAIN == 0
        for torrent in hungry:
            if torrent.is_lonely() or is_turn:
                self.tell(torrent)
        if is_turn:
            # Also those that have peers: who makes what they wait for may have been away, and dials nobody.
            awaiting = [torrent for torrent in everybody() if torrent.spec.awaited and torrent not in hungry]
            for torrent in awaiting:
                self.tell(torrent, max(1, TOLD_AT_ONCE // len(awaiting)) if torrent.peers() else None)

    def _settings(self, *, is_resting: bool) -> dict[str, int]:
        # Torrents count to three until they hear of another number than the one before (facts.md).
        self._failures = FAILURES if self._failures != FAILURES else FAILURES + 1
        wait_s = REST_S if is_resting else random.choice(WAITS_S)  # noqa: S311  no secret
        return {"max_failcount": self._failures, "min_reconnect_time": wait_s}
