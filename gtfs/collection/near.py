# SPDX-License-Identifier: GPL-3.0-or-later
"""Which feeds a list may name: none that is nearer to this machine than the list itself. Pure; any thread.

A list from far away could else have a mirror ask its own machine, or its own network, in its publisher's place. Names
are not looked up: of one that leads to such an address its owner has made that.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from gtfs.feed import DhtFeed, parse_feed, url_host

_FAR, _NEAR, _HERE, _FILE = range(4)


def may_name(source: str, feed: str) -> bool:
    """Whether a list that came from ``source`` may send a mirror to ``feed``. Raises `BadFeed`."""
    return _nearness(feed) <= _nearness_of_source(source)


@lru_cache(maxsize=16)
def _nearness_of_source(source: str) -> int:
    return _nearness(source)


def _nearness(text: str) -> int:
    feed = parse_feed(text)
    if isinstance(feed, DhtFeed):
        return _FAR
    host = url_host(feed)
    if host is None:
        return _FILE
    if host == "localhost" or host.endswith(".localhost"):
        return _HERE
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return _FAR
    if ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast:
        return _HERE
    return _FAR if ip.is_global else _NEAR
