# SPDX-License-Identifier: GPL-3.0-or-later
"""How many others were seen to have all of a torrent, whether they are still connected or not. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

KEPT_S: Final = 86400.0
_MOST: Final = 1000  # peers: whoever connects may say that it is complete, with a new peer id each time


class Copies:
    """Complete peers, by peer id, for a day after each was seen last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[bytes, float] = {}

    def meet(self, peer_ids: Iterable[bytes]) -> None:
        """These are connected, and have everything."""
        now_s = self._clock()
        for peer_id in peer_ids:
            self._seen.pop(peer_id, None)
            self._seen[peer_id] = now_s
        while len(self._seen) > _MOST:
            del self._seen[next(iter(self._seen))]

    def count(self) -> int:
        """How many there are."""
        oldest_s = self._clock() - KEPT_S
        while self._seen and next(iter(self._seen.values())) < oldest_s:
            del self._seen[next(iter(self._seen))]
        return len(self._seen)
