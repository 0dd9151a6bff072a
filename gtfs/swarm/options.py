# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user may choose about the swarm. Pure, and without libtorrent, which `settings` tells; any thread."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gtfs.swarm.manners import Proxy

_PORT: Final = re.compile(r":\d+\s*(?=,|$)")  # in a list of where to listen


def on_any_port(listen: str) -> str:
    """The same addresses, for a session beside one that has the port."""
    return _PORT.sub(":0", listen)


@dataclass(frozen=True)
class SwarmOptions:
    """How a session meets the world; rates in bytes a second with 0 for no limit.

    ``listen`` is libtorrent's list ``ADDRESS:PORT,...``; port 0 means one free port, the same on every address.
    ``trackers`` and ``peers`` are asked for every torrent, besides a torrent's own. ``dht``, ``lsd`` and
    ``port_mapping`` speak to strangers and to the router, and are off unless asked for. The DHT is entered by way of
    ``dht_nodes`` and of peers that are in it; no node is built in.
    """

    listen: str = "0.0.0.0:0,[::]:0"
    upload_rate: int = 0
    download_rate: int = 0
    connections: int = 8000  # a lazy torrent keeps its few for good, and a process may have a thousand repositories
    utp: bool = False
    trackers: tuple[str, ...] = ()
    peers: tuple[tuple[str, int], ...] = ()
    dht: bool = False
    dht_nodes: tuple[tuple[str, int], ...] = ()
    lsd: bool = False
    pex: bool = True
    bells: bool = True  # torrents that tell of newer catalogues
    port_mapping: bool = False
    ports: tuple[int, int] | None = None  # the range for port 0 in ``listen``
    interface: str = ""  # or an address: the only one that peers are dialled from
    proxy: Proxy | None = None
    encryption: str = "enabled"
    seeks_seeds: bool = False  # a torrent that has all it wants looks for peers too: a cache asks who has what
