# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds by halves which packs of a batch are to blame that git refuses as a whole: few should be. One thread."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from contextlib import closing
from dataclasses import dataclass

from gtfs.ids import ObjectId
from gtfs.ingest.batch import Batch, Member
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.outcome import Outcome
from gtfs.ingest.upcoming import Upcoming
from gtfs.repo.unpack import GitRefused


@dataclass(frozen=True)
class Halves:
    """Lets in what git accepts, by these steps of `Ingest`; ``let_in`` gives what is to be examined again, and raises
    `GitRefused`. ``is_lost``: whether it is refused as git has lost what the pack stands on.
    """

    upcoming: Callable[[Sequence[Candidate]], Upcoming]
    gather: Callable[[Upcoming], Batch]
    let_in: Callable[[Batch], Container[ObjectId]]
    is_lost: Callable[[Member, GitRefused], bool]
    outcome: Outcome

    def run(self, members: Sequence[Member]) -> None:
        """Those of a refused batch."""
        candidates = [m.candidate for m in members]
        middle = (len(candidates) + 1) // 2
        for half in (candidates[:middle], candidates[middle:]):
            todo = self.upcoming(half)
            while todo:
                with closing(self.gather(todo)) as batch:
                    if not batch.members:
                        continue
                    batch.end()
                    refused: GitRefused | None = None
                    try:
                        again = self.let_in(batch)
                    except GitRefused as e:
                        refused = e
                if refused is None:
                    self._note(batch.members, again)
                elif len(batch.members) > 1:
                    self.run(batch.members)
                else:
                    self._blame(batch.members[0], refused)

    def _note(self, members: Sequence[Member], again: Container[ObjectId]) -> None:
        for m in members:
            if m.oid in again:
                self.outcome.waiting.append((m.candidate, m.parents))
            else:
                self.outcome.note(m)

    def _blame(self, member: Member, refused: GitRefused) -> None:
        if self.is_lost(member, refused):
            self.outcome.waiting.append((member.candidate, member.parents))
        else:
            self.outcome.refuse(member.candidate, refused)
