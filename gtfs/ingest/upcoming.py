# SPDX-License-Identifier: GPL-3.0-or-later
"""The packs that are to be examined, in their order; of the next few the signatures are looked for already. One thread.

A run of gpgv is most of what a signed commit costs, and several go on at once while the packs before them are decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from itertools import islice
from typing import NamedTuple

from gtfs.errors import GtfsError
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.examine import Examination
from gtfs.trust.several import AHEAD, Search

_HELD_BYTES = 32 << 20  # of packs that wait for their turn; beyond, one at a time is looked at


class Scanned(NamedTuple):
    """A candidate, what step 1 of design.md §8 said of it, and the search for its signature, if step 4 needs one."""

    candidate: Candidate
    said: Examination | GtfsError | OSError
    search: Search | None


class Upcoming:
    """The candidates of one run. ``scan`` is step 1, ``search`` what the gate will want to know."""

    def __init__(
        self,
        candidates: Iterable[Candidate],
        scan: Callable[[Candidate], Examination],
        search: Callable[[Examination, Candidate], Search | None],
        pool: Executor,
    ) -> None:
        self._scan = scan
        self._search = search
        self._pool = pool
        self._looked: deque[Scanned] = deque()
        self._again: deque[Candidate] = deque()  # before the rest
        self._rest = iter(candidates)
        self._held_bytes = 0  # of those looked at

    def __bool__(self) -> bool:
        return bool(self._looked or self._next_is_known())

    def _next_is_known(self) -> bool:
        """Whether there is one more to be looked at; it is in ``_again`` then."""
        if not self._again:
            self._again.extend(islice(self._rest, 1))
        return bool(self._again)

    def first(self) -> Candidate:
        """The next one; raises IndexError without."""
        if self._looked:
            return self._looked[0].candidate
        self._next_is_known()
        return self._again[0]

    def take(self) -> Scanned:
        """The next one, scanned; those behind it are looked at, too, as long as they need signatures."""
        if not self._looked and self._next_is_known():
            found = self._look(self._again.popleft())
            if found.search is None and isinstance(found.said, Examination):
                return found
            self._looked.append(found)
            self._held_bytes = _held_bytes(found)
        while len(self._looked) < AHEAD and self._held_bytes < _HELD_BYTES and self._next_is_known():
            found = self._look(self._again.popleft())
            self._looked.append(found)
            self._held_bytes += _held_bytes(found)
            if found.search is None and isinstance(found.said, Examination):
                break
        found = self._looked.popleft()
        self._held_bytes -= _held_bytes(found)
        return found

    def _look(self, candidate: Candidate) -> Scanned:
        said: Examination | GtfsError | OSError
        search = None
        try:
            said = self._scan(candidate)
            search = self._search(said, candidate)
        except (GtfsError, OSError) as error:  # told when it is its turn
            said = error
        if search is not None:
            search.start(self._pool)
        return Scanned(candidate, said, search)

    def put_back(self, candidates: Sequence[Candidate]) -> None:
        """Let these come next, once more."""
        self._again.extendleft(found.candidate for found in reversed(self._looked))
        self._looked.clear()
        self._held_bytes = 0
        self._again.extendleft(reversed(candidates))


def _held_bytes(found: Scanned) -> int:
    return found.said.held_bytes() if isinstance(found.said, Examination) else 0
