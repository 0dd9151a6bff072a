# SPDX-License-Identifier: GPL-3.0-or-later
"""Which feeds a list may name: none that is nearer to this machine than the list itself. Pure; any thread.

A list from far away could else have a mirror ask its own machine, or its own network, in its publisher's place. Names
are not looked up: of one that leads to such an address its owner has made that.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gtfs.feed import DhtFeed, parse_feed, url_host
from gtfs.nearness import HERE, OPEN, nearness_of_host

_FILE: Final = HERE + 1  # of this machine, and asked without anybody


def may_name(source: str, feed: str) -> bool:
    """Whether a list that came from ``source`` may send a mirror to ``feed``. Raises `BadFeed`."""
    return _nearness(feed) <= _nearness_of_source(source)


@lru_cache(maxsize=16)
def _nearness_of_source(source: str) -> int:
    return _nearness(source)


def _nearness(text: str) -> int:
    feed = parse_feed(text)
    if isinstance(feed, DhtFeed):
        return OPEN
    host = url_host(feed)
    return _FILE if host is None else nearness_of_host(host)
