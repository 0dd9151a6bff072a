# SPDX-License-Identifier: GPL-3.0-or-later
"""When a node leaves out a question to its feeds, as others say that there is nothing new (design.md §6). Trio loop.

What they say saves a question and nothing else: it is asked again before an hour is over, whoever says what.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import trio

from gtfs.node.bell import Bell
from gtfs.state.state import State

MOST_S: Final = 3600.0  # from one answer of a feed to the next question
_LEFT_S: Final = 2 * MOST_S  # of the time that the held catalogue counts, in which a statement about it may come


class ListedVersion(NamedTuple):
    """What the held list of a collection says of a repository."""

    repository: str  # the id in its catalogues
    version: int


class Sparing:
    """One node's. ``listed``: what the list says, that it was made from, if that counts and was asked for just now."""

    def __init__(self, state: State, bell: Bell, listed: Callable[[], ListedVersion | None]) -> None:
        self._state = state
        self._bell = bell
        self._listed = listed

    def may(self, asked_at: float) -> bool:
        """Whether a feed that was asked at this time of trio's clock, and answered, need not be asked now."""
        if trio.current_time() - asked_at >= MOST_S:
            return False
        held, until_s = self._state.held, self._state.good_until_s()
        if held is None or until_s is None or until_s - time.time() < _LEFT_S:
            return False
        repository, version = held.catalogue.repository, held.catalogue.version
        said = self._listed()
        is_newest = said is not None and said.repository == repository and said.version <= version
        return is_newest and self._bell.is_silent_after(version)
