# SPDX-License-Identifier: GPL-3.0-or-later
"""Announcing a torrent again while somebody waits and nobody is there, and a quiet one until it is whole. Trio loop."""

from __future__ import annotations

from collections.abc import Sequence

import libtorrent as lt
import trio

from gtfs.swarm.adding import UNTOLD
from gtfs.swarm.link import Link

LONELY_S = 30.0  # without a peer while something is waited for; then trackers are asked again


class Announcing:
    """Of one torrent: a tracker may have said to come back in an hour; ``trackers`` are those of a quiet one."""

    def __init__(self, link: Link, trackers: Sequence[str], *, is_quiet: bool) -> None:
        self._link = link
        self._trackers = trackers
        self._is_quiet = is_quiet
        self._is_told = not is_quiet  # as it was added
        self._at_s = trio.current_time() + LONELY_S

    def tick(self, *, is_lonely: bool, is_done: bool) -> None:
        """Called every second."""
        now_s = trio.current_time()
        if self._is_quiet and self._is_told and is_done:
            self._tell(is_told=False)
        if is_lonely and now_s >= self._at_s:
            if not self._is_told:
                self._tell(is_told=True)
            self._link.call("force_reannounce", 0, lt.reannounce_flags_t.ignore_min_interval)
        elif is_lonely:
            return
        self._at_s = now_s + LONELY_S

    def _tell(self, *, is_told: bool) -> None:
        self._is_told = is_told
        self._link.call("replace_trackers", [{"url": url} for url in self._trackers] if is_told else [])
        self._link.call("unset_flags" if is_told else "set_flags", UNTOLD)
