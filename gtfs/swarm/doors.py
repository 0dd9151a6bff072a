# SPDX-License-Identifier: GPL-3.0-or-later
"""One torrent in which all who have repositories in common meet, so that not each of their reels has to be announced.

It has no content and no metadata: whoever says the same name comes to the same infohash. Who answers there is tried
for every torrent, by `gtfs.swarm.dialling`. A session's door is open as long as one of its nodes says the name. Trio
loop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gtfs.ids import InfoHash
from gtfs.swarm import alerts
from gtfs.swarm.adding import probe_params
from gtfs.swarm.link import drop
from gtfs.swarm.options import SwarmOptions
from gtfs.swarm.pieces import SessionClosed

_DOMAIN: Final = b"gtfs-meet 1\n"
_CONNECTIONS: Final = 64  # of one door: as many as `AddressBook` remembers
_NOWHERE: Final = Path("/nonexistent")  # nothing is ever written


def door_of(name: str) -> InfoHash:
    """Where those meet who say ``name``."""
    return InfoHash(hashlib.sha1(_DOMAIN + name.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest())


def door_params(name: str, trackers: tuple[str, ...], options: SwarmOptions) -> Any:
    """What libtorrent is told of it."""
    params = probe_params(door_of(name), _NOWHERE, options)
    params.trackers = list(dict.fromkeys((*trackers, *options.trackers)))
    params.tracker_tiers = list(range(len(params.trackers)))
    params.max_connections = _CONNECTIONS
    # Whom the user named is known already, and who is not behind this door hangs up: libtorrent would dial him again
    # each second, as long as the session lives.
    params.peers = []
    return params


@dataclass
class _Door:
    whose: set[Path] = field(default_factory=set)
    handle: Any = None  # None until libtorrent has it
    is_answered: bool = False


class Doors:
    """Those of one session; ``libtorrent`` gives it."""

    def __init__(self, options: SwarmOptions, libtorrent: Callable[[], Any]) -> None:
        self._options = options
        self._libtorrent = libtorrent
        self._doors: dict[InfoHash, _Door] = {}

    def open(self, name: str, trackers: tuple[str, ...], whose: Path) -> None:
        """Meet others who say this name, until `close` for each whose it is. Raises `SessionClosed`."""
        infohash, libtorrent = door_of(name), self._libtorrent()
        if libtorrent is None:
            raise SessionClosed("the swarm session was closed")
        if infohash not in self._doors:
            self._doors[infohash] = _Door()
            libtorrent.async_add_torrent(door_params(name, trackers, self._options))
        self._doors[infohash].whose.add(whose)

    def close(self, whose: Path) -> None:
        """Nobody says a name any more for this one's sake."""
        for infohash, door in list(self._doors.items()):
            door.whose.discard(whose)
            self._end_unneeded(infohash, door)

    def takes(self, event: alerts.Added) -> bool:
        """Whether it is a door that libtorrent has taken, or refused: then it is noted."""
        door = self._doors.get(event.infohash)
        if door is not None:
            door.is_answered = True
        if door is not None and event.error is None:
            door.handle = event.handle
            self._end_unneeded(event.infohash, door)
        return door is not None

    def awaited(self) -> set[InfoHash]:
        """Those of which libtorrent has not said whether it takes them."""
        return {infohash for infohash, door in self._doors.items() if not door.is_answered}

    def _end_unneeded(self, infohash: InfoHash, door: _Door) -> None:
        libtorrent = self._libtorrent()
        if not door.whose and door.handle is not None and libtorrent is not None:
            del self._doors[infohash]
            drop(libtorrent, door.handle)
