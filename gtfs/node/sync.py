# SPDX-License-Identifier: GPL-3.0-or-later
"""One round of a sync: listed reels are fetched, let in in order as they come, and refs follow (design.md §8).

Trio loop, but for what says that it blocks, which is for the writing thread.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import trio

from gtfs.counted import counted
from gtfs.errors import without_frames
from gtfs.ids import ObjectId, ReelName
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.faults import FaultCounts
from gtfs.ingest.outcome import Outcome
from gtfs.ingest.refjudge import NOT_YET
from gtfs.ingest.refmoves import RefReport, follow_refs
from gtfs.node.memory import give_back, keep_little
from gtfs.node.nursery import cancelled, open_flat_nursery
from gtfs.node.reelfetches import OF_ONE_REEL, ReelError, ReelFetches
from gtfs.reel.index import ReelRow
from gtfs.repo.work import Work
from gtfs.state.attest import attest_if_due
from gtfs.state.divergence import all_stay
from gtfs.state.makereel import adopt_packs
from gtfs.state.mirrorsettings import refuse_pushes_here
from gtfs.state.offer import offer
from gtfs.state.state import State
from gtfs.swarm.pieces import DiskTrouble, Offline
from gtfs.view.news import Count
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

FOLLOWED = "followed-version"  # in the index: the last catalogue of which nothing was missing when refs moved
_AT_ONCE = 4  # reels; while one waits for its only peer, the others go on
_NEARLY_BYTES = 8 << 20  # missing of a reel: the next one is begun, so that the line is never idle
_STUCK_S = 2.0  # without a piece of it: so it is as well
_PART_BYTES = 4 << 20  # let in at once while a reel comes: each part leaves a git pack
_PARTS = 16  # about, of a large reel
_LAST_PART_BYTES = 512 << 10


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
    missing: dict[ReelName, ReelError] = field(default_factory=dict)  # reels that did not come, and why
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

    def __init__(self, state: State, fetches: ReelFetches, writing: Writing) -> None:
        self._state = state
        self.fetches = fetches
        self.writing = writing
        self._adopted: set[ReelName] = set()  # listed reels, while they stay whole
        keep_little()

    def forget_others(self, listed: Sequence[ReelRow]) -> None:
        """These are all that a catalogue still lists."""
        self._adopted.intersection_update(row.name for row in listed)

    def let_in_part(
        self, reel: ReelRow, start: int, end: int, more: Callable[[], int], progress: Callable[[int], None]
    ) -> tuple[Outcome, int]:
        """Ingest packs of a reel on its way, between two offsets; gives where the last one ends. Blocking.

        When it is through, ``more`` is asked how far the file goes by then: git is still at work at the batch before.
        Nothing is recorded of those that do not come in: the file may lag behind, and all of it is looked at once more.
        """

        def candidates() -> Iterator[Candidate]:
            nonlocal start, end
            while start < end:
                yield from self._candidates(reel, start, end)
                start = max(start, self._state.index.packs.whole_bytes(reel.id, end))
                before, end = end, more()
                if end <= before:
                    return

        outcome = self._ingest(candidates(), progress)
        return outcome, start

    def _candidates(self, reel: ReelRow, start: int, end: int) -> Iterator[Candidate]:
        path, now = self._state.layout.reel(reel.name), self._state.index.reels.get(reel.id)
        if now is None or now.name != reel.name:
            return  # it left the catalogue meanwhile, and another reel may have its id
        for row in self._state.index.packs.reel_rows_between(reel.id, start, end):
            if row.stage != "unpacked":
                yield Candidate(row.oid, path, row.offset or 0, row.size, row.digest, is_ours=True)

    def _ingest(self, candidates: Iterator[Candidate], progress: Callable[[int], None]) -> Outcome:
        def batch_done(count: int) -> None:
            give_back()
            progress(count)

        return self._state.ingest().run(candidates, stop=cancelled, progress=batch_done)

    def forget(self) -> None:
        """Give back what was kept for the packs that came in. Blocking."""
        self._state.ingest().forget()
        self._state.index.shrink()
        give_back()

    def let_in(self, reel: ReelRow, progress: Callable[[int], None]) -> Outcome:
        """Ingest what is not in git yet of a whole reel; ``progress`` hears how many packs are. Blocking."""
        index = self._state.index
        # The time of a sync must not grow with all that was let in before: neither tables nor rows are read again.
        if not reel.is_whole or reel.name not in self._adopted:
            adopt_packs(self._state, reel)
            self._adopted.add(reel.name)
        if not index.reels.holds_any(reel.id, ("remote", "waiting", "refused", "verified")):
            return Outcome()
        now = index.reels.get(reel.id)
        if now is None or (not now.is_whole and self.fetches.reel_torrents.is_let_in(reel)):
            return Outcome()  # what was refused is judged again from bytes that are here
        outcome = self._ingest(self._candidates(reel, 0, reel.size), progress)
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
        self._fetches = way_in.fetches
        self._reel_torrents = way_in.fetches.reel_torrents
        self._news = way_in.writing.news
        self._listed = listed
        self._report = report
        self._progress = progress
        self._here = {row.id: row.size if row.is_whole else 0 for row in listed}
        self._came = {row.id: trio.Event() for row in listed}
        self._arrived = Count()  # a piece of a reel, its table, or the last that came of it
        self._fetching: dict[int, tuple[ReelRow, float]] = {}  # and when something of it came last
        self._turn = trio.Lock()
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
            log.info("let in: %s: %s, %s first", name, counted(count, "object"), first.hex())
        self._way_in.forget_others(self._listed)
        report.listed = len(self._listed) - sum(row.name in report.missing for row in self._listed)

    def _tell(self, packs: int = 0) -> None:
        """How far it is, with so many packs of the reel at hand."""
        bytes_here = sum(self._here.values())
        done = self._packs_done + packs
        self._progress(Progress(bytes_here, self._report.total_bytes, done, self._packs_total))

    async def _fetch_task(self, waiting: Iterator[ReelRow], stall_s: float) -> None:
        while True:
            async with self._turn:
                row = next(waiting, None)
                if row is None:
                    return
                is_wanted = self._reel_torrents.is_wanted(row)
                if is_wanted:
                    await self._wait_idle()
                    self._fetching[row.id] = row, trio.current_time()
            if is_wanted:
                await self._fetch(row, stall_s)
                del self._fetching[row.id]
            self._here[row.id] = 0 if row.name in self._report.missing else row.size
            self._news.reels.grow()
            self._came[row.id].set()
            self._arrived.grow()

    async def _wait_idle(self) -> None:
        """Return when the line has room for one more reel: in turn, each can be let in as it comes."""
        while True:
            seen, now_s = self._arrived.number, trio.current_time()
            busy_until_s = [
                last_s + _STUCK_S
                for row, last_s in self._fetching.values()
                if row.size - self._here[row.id] > _NEARLY_BYTES and now_s < last_s + _STUCK_S
            ]
            if not busy_until_s:
                return
            with trio.move_on_at(min(busy_until_s)):
                await self._arrived.wait_beyond(seen)

    async def _fetch(self, row: ReelRow, stall_s: float) -> None:
        def fetched(count: int, _size: int) -> None:
            if count > self._here[row.id]:
                self._fetching[row.id] = row, trio.current_time()
            self._here[row.id] = count
            self._arrived.grow()
            self._tell()

        def listed() -> None:
            self._news.changed()
            self._arrived.grow()

        try:
            await self._fetches.fetch(row, fetched, listed, stall_s)
        except (Offline, DiskTrouble):
            raise
        except OF_ONE_REEL as e:
            self._report.missing[row.name] = without_frames(e)
        else:
            self._report.reels += 1

    async def _let_in(self) -> None:
        """In the catalogue's order: parents come before children."""
        for row in self._listed:
            # One that is here whole has nothing on its way, and its packs are many.
            done = await self._let_in_as_it_comes(row) if self._reel_torrents.is_wanted(row) else 0
            await self._came[row.id].wait()
            if row.name not in self._report.missing:
                outcome = await self._way_in.writing.run(self._way_in.let_in, row, self._unpacked(done))
                self._reel_torrents.evictions.unpin(row.id)
                self._packs_done += row.rows
                self._count(outcome)

    def _unpacked(self, before: int) -> Callable[[int], None]:
        return lambda count: trio.from_thread.run_sync(self._tell, before + count)

    def _count(self, outcome: Outcome) -> None:
        self._report.count(outcome)
        self._news.came_in()

    async def _let_in_as_it_comes(self, row: ReelRow) -> int:
        """Let in what is here of a reel, part by part, until no more of it comes; gives how many packs."""
        looked = end = packs = 0
        is_listed = False

        async def look() -> int:
            """How much is in the file, where that is enough more than before."""
            nonlocal looked
            here = self._fetches.first_bytes(row)
            if here - looked >= _part_bytes(row.size, row.size - here):
                await self._fetches.flush(row)
                looked = here
            return looked

        def more() -> int:
            try:
                return trio.from_thread.run(look)
            except (*OF_ONE_REEL, trio.Cancelled):  # whoever fetches it tells of the one, `cancelled` of the other
                return 0

        while not self._came[row.id].is_set():
            seen = self._arrived.number
            is_listed = is_listed or self._reel_torrents.has_table(row)
            before = looked
            try:
                if not is_listed or await look() == before:
                    await self._arrived.wait_beyond(seen)
                    continue
            except OF_ONE_REEL:
                break  # whoever fetches it tells of that
            outcome, end = await self._way_in.writing.run(
                self._way_in.let_in_part, row, end, looked, more, self._unpacked(packs)
            )
            packs += len(outcome.unpacked)
            self._count(replace(outcome, waiting=[], refused=[]))
            if outcome.waiting or outcome.refused:
                break
        return packs


def _part_bytes(size: int, missing: int) -> int:
    """How much of a reel should be here before more of it is let in: towards its end less and less, as then nothing is
    left to do while the rest comes."""
    return max(_LAST_PART_BYTES, min(missing // 4, max(_PART_BYTES, size // _PARTS)))


def has_followed(state: State) -> bool:
    """Whether refs are where the held catalogue has them, as far as they may be."""
    held = state.held
    if held is None:
        return False
    # That a ref is held back is no reason to leave the others behind from now on.
    index = state.index
    return index.meta.get(FOLLOWED) == str(held.catalogue.version) or index.refs.held() == held.catalogue.refs


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
    refuse_pushes_here(state)
    # One line for each reason: a catalogue may hold a hundred thousand refs.
    for reason, count in Counter(report.held_back.values()).items():
        name = next(n for n, r in report.held_back.items() if r == reason)
        level = logging.INFO if name in report.late else logging.WARNING
        shown = name.decode("utf-8", "replace")
        stay = counted(count, "ref stays where it is", "refs stay where they are")
        log.log(level, "%s, %s first: %s", stay, shown, reason)
    return report


def _offer(state: State, version: int) -> RefReport:
    """In a clone git moves refs; here they are judged, and what git may not have is held back."""
    offered = offer(state, Work(stop=cancelled))
    if not offered.late:
        state.index.meta.set(FOLLOWED, str(version))
    late = dict.fromkeys(offered.late, NOT_YET)
    return RefReport(0, {**offered.held_back, **late}, late=offered.late)
