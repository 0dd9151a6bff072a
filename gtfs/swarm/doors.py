# SPDX-License-Identifier: GPL-3.0-or-later
"""One torrent in which all who have repositories in common meet, so that not each of their reels has to be announced.

It has no content and no metadata: whoever says the same name comes to the same infohash. Who answers there is tried
for every torrent, by `gtfs.swarm.dialling`. Pure, but for libtorrent's parameters; any thread.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from gtfs.ids import InfoHash
from gtfs.swarm.adding import probe_params
from gtfs.swarm.options import SwarmOptions

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
