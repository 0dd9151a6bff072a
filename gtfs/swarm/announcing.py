# SPDX-License-Identifier: GPL-3.0-or-later
"""Announcing a torrent again while somebody waits and nobody is there. Trio loop."""

from __future__ import annotations

import libtorrent as lt
import trio

from gtfs.swarm.link import Link

LONELY_S = 30.0  # without a peer while something is waited for; then trackers are asked again


class Announcing:
    """Of one torrent: a tracker may have said to come back in an hour."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._at_s = trio.current_time() + LONELY_S

    def tick(self, *, is_lonely: bool) -> None:
        """Called every second."""
        now_s = trio.current_time()
        if is_lonely and now_s >= self._at_s:
            self._link.call("force_reannounce", 0, lt.reannounce_flags_t.ignore_min_interval)
        elif is_lonely:
            return
        self._at_s = now_s + LONELY_S
