# SPDX-License-Identifier: GPL-3.0-or-later
"""One round of a sync: listed reels are fetched, several at once, let in in order, and refs follow (design.md §8).

Trio loop, but for what says that it blocks, which is for the writing thread.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import trio

from gtfs.ids import ObjectId, ReelName
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.faults import FaultCounts
from gtfs.ingest.ingest import Outcome
from gtfs.ingest.refjudge import NOT_YET
from gtfs.ingest.refmoves import RefReport, follow_refs
from gtfs.node.nursery import cancelled, open_flat_nursery
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.reel.index import ReelRow
from gtfs.reel.table import CorruptReel
from gtfs.repo.pushes import refuse_pushes
from gtfs.repo.work import Work
from gtfs.state.attest import attest_if_due
from gtfs.state.divergence import all_stay
from gtfs.state.offer import offer
from gtfs.state.state import State
from gtfs.swarm.pieces import DiskTrouble, Offline, SwarmError
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

FOLLOWED = "followed-version"  # in the index: the last catalogue of which nothing was missing when refs moved
_AT_ONCE = 4  # reels; while one waits for its only peer, the others go on


@dataclass
class SyncReport:
    """What a sync did; bytes are payload from peers."""

    packs: int = 0
    reels: int = 0
    total_bytes: int = 0
    refs: RefReport = field(default_factory=lambda: RefReport(0, {}))
    refused: dict[ObjectId, str] = field(default_factory=dict)
    waiting: int = 0
    faults: FaultCounts = field(default_factory=FaultCounts)  # of what was let in
    listed: int = 0  # reels that could be listed; without the missing ones
    missing: dict[ReelName, SwarmError | CorruptReel] = field(default_factory=dict)  # reels that did not come, and why
    unusable: dict[ReelName, str] = field(default_factory=dict)  # reels that are never asked for, and why

    def add(self, before: SyncReport) -> None:
        """Count what an earlier round of the same sync did."""
        self.packs += before.packs
        self.reels += before.reels
        self.refused = before.refused | self.refused
        self.faults.merge(before.faults)

    def count(self, outcome: Outcome) -> None:
        """Count what came of a reel's packs."""
        self.packs += len(outcome.unpacked)
        self.refused.update((c.oid, str(e)) for c, e in outcome.refused)
        self.waiting += len(outcome.waiting)
        self.faults.merge(outcome.faults)


@dataclass(frozen=True)
class Progress:
    """Where a sync stands: bytes of all its reels here and in total, packs unpacked and in total."""

    bytes_here: int
    bytes_total: int
    packs_done: int
    packs_total: int


class WayIn:
    """Lets the packs of whole reels in; remembers between rounds into which of them nothing has to be moved."""

    def __init__(self, state: State, reel_torrents: ReelTorrents, writing: Writing) -> None:
        self._state = state
        self.reel_torrents = reel_torrents
        self.writing = writing
        self._adopted: set[ReelName] = set()  # listed reels, while they stay whole

    def forget_others(self, listed: Sequence[ReelRow]) -> None:
        """These are all that a catalogue still lists."""
        self._adopted.intersection_update(row.name for row in listed)

    def let_in(self, reel: ReelRow, progress: Callable[[int], None]) -> Outcome:
        """Ingest what is not in git yet of a whole reel; ``progress`` hears how many packs are. Blocking."""
        index = self._state.index
        path = self._state.layout.reel(reel.name)
        # The time of a sync must not grow with all that was let in before: neither tables nor rows are read again.
        if not reel.is_whole or reel.name not in self._adopted:
            self.reel_torrents.adopt_packs(reel)
            self._adopted.add(reel.name)
        is_news = index.reels.holds_any(reel.id, ("remote", "waiting", "refused", "verified"))
        rows = [row for row in index.packs.reel_rows(reel.id) if row.stage != "unpacked"] if is_news else []
        if not rows:
            return Outcome()
        candidates = [Candidate(r.oid, path, r.offset or 0, r.size, r.digest, is_ours=True) for r in rows]
        outcome = self._state.ingest().run(candidates, stop=cancelled, progress=progress)
        with index.transaction():
            index.packs.set_stage([c.oid for c, _ in outcome.waiting], "waiting")
            for candidate, error in outcome.refused:
                log.error("%s of reel %s is refused: %s", candidate.oid.hex(), reel.name, error)
                index.packs.set_stage([candidate.oid], "refused", str(error))
        return outcome


class Round:
    """The reels ``listed``, on their way in; ``report`` says what came of each."""

    def __init__(
        self, way_in: WayIn, listed: Sequence[ReelRow], report: SyncReport, progress: Callable[[Progress], None]
    ) -> None:
        self._way_in = way_in
        self._reel_torrents = way_in.reel_torrents
        self._news = way_in.writing.news
        self._listed = listed
        self._report = report
        self._progress = progress
        self._here = {row.id: row.size if row.is_whole else 0 for row in listed}
        self._came = {row.id: trio.Event() for row in listed}
        self._packs_done = 0
        self._packs_total = sum(row.rows for row in listed)
        report.total_bytes = sum(row.size for row in listed)

    async def run(self, stall_s: float) -> None:
        """Fetch and let in; see `Follower.sync`."""
        report, waiting = self._report, iter(self._listed)
        try:
            async with open_flat_nursery() as nursery:
                for _ in range(_AT_ONCE):
                    nursery.start_soon(self._fetch_task, waiting, stall_s)
                await self._let_in()
        finally:
            self._reel_torrents.evictions.unpin()
        for name, (count, first) in report.faults.kinds.items():
            log.info("let in: %s: %d objects, %s first", name, count, first.hex())
        self._way_in.forget_others(self._listed)
        report.listed = len(self._listed) - sum(row.name in report.missing for row in self._listed)

    def _tell(self, packs: int = 0) -> None:
        """How far it is, with so many packs of the reel at hand."""
        bytes_here = sum(self._here.values())
        done = self._packs_done + packs
        self._progress(Progress(bytes_here, self._report.total_bytes, done, self._packs_total))

    async def _fetch_task(self, waiting: Iterator[ReelRow], stall_s: float) -> None:
        for row in waiting:
            if self._reel_torrents.is_wanted(row):
                await self._fetch(row, stall_s)
            self._here[row.id] = 0 if row.name in self._report.missing else row.size
            self._news.reels.grow()
            self._came[row.id].set()

    async def _fetch(self, row: ReelRow, stall_s: float) -> None:
        def fetched(count: int, _size: int) -> None:
            self._here[row.id] = count
            self._tell()

        try:
            await self._reel_torrents.fetch(row, fetched, stall_s)
        except (Offline, DiskTrouble):
            raise
        except (SwarmError, CorruptReel) as e:
            self._report.missing[row.name] = e
        else:
            self._report.reels += 1

    async def _let_in(self) -> None:
        """In the catalogue's order: parents come before children."""

        def unpacked(count: int) -> None:
            trio.from_thread.run_sync(self._tell, count)

        for row in self._listed:
            await self._came[row.id].wait()
            if row.name not in self._report.missing:
                outcome = await self._way_in.writing.run(self._way_in.let_in, row, unpacked)
                self._reel_torrents.evictions.unpin(row.id)
                self._packs_done += row.rows
                self._report.count(outcome)
                self._news.came_in()


def move_refs(state: State) -> RefReport:
    """Move refs to where the held catalogue has them; says what stays. Blocking."""
    held = state.held
    assert held is not None
    catalogue = held.catalogue
    if state.config.is_clone():
        return _offer(state, catalogue.version)
    why = all_stay(state)
    if why is not None:
        return RefReport(0, dict.fromkeys(catalogue.refs, why.text), reasons=dict.fromkeys(catalogue.refs, why))
    attest_if_due(state)  # first: it may be what refs wait for
    report = follow_refs(state.repository, state.index, catalogue.refs, catalogue.head, state.demands())
    if not report.late:
        state.index.meta.set(FOLLOWED, str(catalogue.version))
    sources = state.config.get_all("source")
    place = f"the catalogue of {catalogue.repository}" + (f" ({sources[0]})" if sources else "")
    if state.config.sign_key() is None:
        refuse_pushes(state.repository, catalogue.refs, place)
    # One line for each reason: a catalogue may hold a hundred thousand refs.
    for reason, count in Counter(report.held_back.values()).items():
        name = next(n for n, r in report.held_back.items() if r == reason)
        level = logging.INFO if name in report.late else logging.WARNING
        shown = name.decode("utf-8", "replace")
        log.log(level, "%d refs stay where they are, %s first: %s", count, shown, reason)
    return report


def _offer(state: State, version: int) -> RefReport:
    """In a clone git moves refs; here they are judged, and what git may not have is held back."""
    offered = offer(state, Work(stop=cancelled))
    if not offered.late:
        state.index.meta.set(FOLLOWED, str(version))
    late = dict.fromkeys(offered.late, NOT_YET)
    return RefReport(0, {**offered.held_back, **late}, late=offered.late)
