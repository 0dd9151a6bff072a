# SPDX-License-Identifier: GPL-3.0-or-later
"""How many peers a session sends to at a time: all that ask, but few while it fetches together with many. Trio loop.

Of a hundred mirrors all ask at once for a piece that one has: sent to all at the same time, it takes a hundred times as
long as sent to one, and meanwhile nobody can pass it on. A complete session, a publisher's first of all, sends to
whoever asks: a reader waits for its few pieces now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gtfs.swarm.rendezvous import MOST_OWNERS

AT_ONCE: Final = 8  # simulated with 4, 8 and 16 (contrib/bench/simulate)
MANY: Final = MOST_OWNERS  # others; among 16 in all it makes no difference that was measured
EVERYBODY: Final = -1


class Slots:
    """``session`` gives libtorrent's, or None when it is closed."""

    def __init__(self, session: Callable[[], Any]) -> None:
        self._session = session
        self._limit = EVERYBODY

    def choose(self, mirrors: int) -> None:
        """So many others fetch what this session fetches."""
        limit = AT_ONCE if mirrors > MANY else EVERYBODY
        session = self._session()
        if limit != self._limit and session is not None:
            self._limit = limit
            session.apply_settings({"unchoke_slots_limit": limit})
