# SPDX-License-Identifier: GPL-3.0-or-later
"""In: a catalogue is accepted, its reels' tables and bytes are fetched, ingested, and refs follow (design.md §5, §8).

Trio loop; what blocks runs in threads, what writes the repository under the node's one writing limiter.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import trio

from gtfs.catalogue.accept import Accepted, Equivocation, FirstTrust, accept
from gtfs.ids import ObjectId, ReelName
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.faults import FaultCounts
from gtfs.ingest.ingest import Outcome
from gtfs.ingest.lost import is_doubted
from gtfs.ingest.refjudge import NOT_YET
from gtfs.ingest.refmoves import RefReport, follow_refs
from gtfs.node.nursery import cancelled, open_flat_nursery
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.reel.index import ReelRow
from gtfs.reel.table import CorruptReel, Row
from gtfs.repo.pushes import refuse_pushes
from gtfs.state.divergence import why_all_stay
from gtfs.state.firsttrust import LimitTooLow, NotFollowing
from gtfs.state.repair import look_at_git
from gtfs.state.state import State
from gtfs.state.turnover import Guess
from gtfs.swarm.pieces import DiskTrouble, Offline, SwarmError
from gtfs.view.packs import Packs

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


@dataclass(frozen=True)
class Progress:
    """Where a sync stands: bytes of all its reels here and in total, packs unpacked and in total."""

    bytes_here: int
    bytes_total: int
    packs_done: int
    packs_total: int


class Follower:
    """Follows one publisher for one node."""

    def __init__(
        self,
        state: State,
        reels: ReelTorrents,
        store: Packs,
        writing: trio.CapacityLimiter,
        first: FirstTrust,
        changed: Callable[[], None],
    ) -> None:
        self._state = state
        self._reel_torrents = reels
        self._packs = store
        self._writing = writing
        self._first = first
        self._changed = changed
        self._one = trio.Lock()
        self._filled: set[ReelName] = set()  # reels to which git has given what it has
        self._settled: set[ReelName] = set()  # listed reels that nothing has to be moved into while they stay whole

    async def take_document(self, document: bytes, *, join: bool = True) -> bool:
        """Judge a document that a feed gave; True when it is newer than what was held. Raises `CatalogueRefused`.

        With ``join`` its reels are in the swarm afterwards; else `bring_tables` puts them there, once what is here
        already was taken up.
        """
        accepted = await trio.to_thread.run_sync(self._accept, document, limiter=self._writing)
        if accepted is None:
            return False
        if join:
            await self._reel_torrents.update()
        self._packs.forget_reels()
        return True

    def _accept(self, document: bytes) -> Accepted | None:
        state = self._state
        if state.keyring is None:
            raise NotFollowing("there is no key to check the catalogue with; give -o keyring=FILE")
        try:
            accepted = accept(
                document, state.held, state.keyring, self._first, int(time.time()),
                known_digest=state.catalogues.known_digest,
            )  # fmt: skip
        except Equivocation as e:
            log.error("%s; the other document is kept at %s", e, state.catalogues.save_equivocation(e))
            raise
        if not accepted.news:
            return None
        # Durable before it is acted on (§5).
        state.catalogues.save(accepted)
        state.hold(accepted)
        log.info("accepted catalogue %d of %s", accepted.catalogue.version, accepted.catalogue.repository)
        unusable = accepted.catalogue.unusable
        for name, reason in islice(unusable.items(), 1):
            log.warning("%d reels of the catalogue cannot be had, %s first: %s", len(unusable), name, reason)
        too_low = self._limit_too_low(accepted)
        if too_low is not None:
            log.warning("%s", too_low)
        return accepted

    def _limit_too_low(self, held: Accepted) -> LimitTooLow | None:
        beyond = held.catalogue.needs.beyond(self._state.limits)
        return None if beyond is None else LimitTooLow(*beyond, self._state.config.path)

    def _listed(self) -> list[ReelRow]:
        """The held catalogue's reels, in its order."""
        held = self._state.held
        if held is None:
            return []
        rows = [self._state.index.reels.by_name(entry.name) for entry in held.catalogue.reels]
        return [row for row in rows if row is not None]

    def lacks_tables(self) -> bool:
        """Whether a reel of the catalogue cannot be listed yet."""
        return not all(self._reel_torrents.has_table(row) for row in self._listed())

    async def bring_tables(self, deadline_s: float) -> dict[ReelName, SwarmError | CorruptReel]:
        """Fetch the tables that are missing, several at once; gives what went wrong, by reel."""
        failed: dict[ReelName, SwarmError | CorruptReel] = {}
        async with self._one, open_flat_nursery() as nursery:
            some = trio.CapacityLimiter(8)

            async def bring(row: ReelRow) -> None:
                async with some:
                    try:
                        await self._reel_torrents.bring_table(row, deadline_s)
                        await self._reel_torrents.fill(row)
                    except (SwarmError, CorruptReel) as e:
                        log.info("%s", e)
                        failed[row.name] = e

            await self._reel_torrents.make(*await trio.to_thread.run_sync(self._guess, limiter=self._writing))
            for row in self._listed():
                if not self._reel_torrents.has_table(row):
                    nursery.start_soon(bring, row)
        self._changed()
        return failed

    def _guess(self) -> list[tuple[ReelRow, list[Row]]]:
        """The reels without a table whose packs this node has made from its own git."""
        state, held = self._state, self._state.held
        listed = self._listed()
        # What was taken up and lies in no reel yet is the sign of an existing clone.
        if held is None or all(map(self._reel_torrents.has_table, listed)) or not state.index.packs.open_items():
            return []
        guess = Guess(state.reel_files, list(held.catalogue.refs.values()))
        found = []
        for row in listed:
            table = state.reel_files.table(row)
            if table is not None:
                guess.leave_out(table)
            elif (packs := guess.packs(row)) is not None:
                found.append((row, packs))
            else:
                break
        return found

    async def _fill(self, listed: Sequence[ReelRow]) -> None:
        """Let git give once what it has of reels that are not whole."""
        for row in listed:
            if (
                row.name not in self._filled
                and self._reel_torrents.is_wanted(row)
                and self._reel_torrents.has_table(row)
            ):
                self._filled.add(row.name)
                await self._reel_torrents.fill(row)

    async def sync(
        self, progress: Callable[[Progress], None], stall_s: float = 120.0, *, is_once_more: bool = True
    ) -> SyncReport:
        """Fetch all reels, several at once, let their packs in and move refs.

        A reel that nobody gives for ``stall_s`` seconds is left out and reported. Raises `Offline`, `DiskTrouble`,
        `NotFollowing`, `LimitTooLow`, OSError.
        """
        held = self._state.held
        if held is None:
            raise NotFollowing(f"{self._state.repository.path} follows no catalogue; there is nothing to sync with")
        too_low = self._limit_too_low(held)
        if too_low is not None and self._state.config.sign_key() is None:
            raise too_low
        report = SyncReport(unusable=held.catalogue.unusable)
        # What is recorded is believed below: git may have lost objects, and the disk files, since then.
        await trio.to_thread.run_sync(look_at_git, self._state, cancelled, limiter=self._writing)
        await self._reel_torrents.mend()
        if self._state.index.packs.last_row():
            # What nobody gives must not hold up the rest.
            report.missing.update(await self.bring_tables(stall_s))
        else:
            # Nothing here could be part of a reel, and tables come with the rest: asked for first, and by every
            # mirror at once, they would all come from the publisher.
            await self._reel_torrents.update()
        listed = [row for row in self._listed() if row.name not in report.missing]
        await self._fill(listed)
        here = {row.id: row.size if row.is_whole else 0 for row in listed}
        report.total_bytes, total_packs = sum(r.size for r in listed), sum(r.rows for r in listed)
        done_before = [0]

        def tell(packs: int) -> None:
            progress(Progress(sum(here.values()), report.total_bytes, done_before[0] + packs, total_packs))

        async with self._one:
            came = {row.id: trio.Event() for row in listed}
            waiting = iter(listed)

            async def fetch_task() -> None:
                for row in waiting:
                    if self._reel_torrents.is_wanted(row):

                        def fetched(count: int, _size: int, reel_id: int = row.id) -> None:
                            here[reel_id] = count
                            tell(0)

                        try:
                            await self._reel_torrents.fetch(row, fetched, stall_s)
                        except (Offline, DiskTrouble):
                            raise
                        except (SwarmError, CorruptReel) as e:
                            report.missing[row.name] = e
                        else:
                            report.reels += 1
                    here[row.id] = 0 if row.name in report.missing else row.size
                    self._packs.forget_reels()
                    came[row.id].set()

            try:
                async with open_flat_nursery() as nursery:
                    for _ in range(_AT_ONCE):
                        nursery.start_soon(fetch_task)
                    for row in listed:
                        # In the catalogue's order: parents come before children.
                        await came[row.id].wait()
                        if row.name in report.missing:
                            continue
                        outcome = await trio.to_thread.run_sync(
                            self._let_in, row, lambda n: trio.from_thread.run_sync(tell, n), limiter=self._writing
                        )
                        self._reel_torrents.unpin(row)
                        done_before[0] += row.rows
                        report.packs += len(outcome.unpacked)
                        report.refused.update((c.oid, str(e)) for c, e in outcome.refused)
                        report.waiting += len(outcome.waiting)
                        report.faults.merge(outcome.faults)
                        self._changed()
            finally:
                self._reel_torrents.unpin()
            for name, (count, first) in report.faults.kinds.items():
                log.info("let in: %s: %d objects, %s first", name, count, first.hex())
            self._settled.intersection_update(row.name for row in listed)
            report.listed = len(listed) - sum(row.name in report.missing for row in listed)
            if self._state.held is held:
                # Those whose whole history is here move, whatever else is missing.
                report.refs = await trio.to_thread.run_sync(self._move_refs, limiter=self._writing)
                self._changed()
        if self._state.held is held and not (is_once_more and is_doubted(self._state.index)):
            return report
        # A newer catalogue came meanwhile, and lists other reels: what was missing may lie in them. Or git has lost
        # what packs stand on, which was seen only now.
        again = await self.sync(progress, stall_s, is_once_more=self._state.held is not held)
        again.packs += report.packs
        again.reels += report.reels
        again.refused = report.refused | again.refused
        again.faults.merge(report.faults)
        return again

    def _let_in(self, reel: ReelRow, progress: Callable[[int], None]) -> Outcome:
        index = self._state.index
        path = self._state.reel_path(reel.name)
        # The time of a sync must not grow with all that was let in before: neither tables nor rows are read again.
        if not reel.is_whole or reel.name not in self._settled:
            self._reel_torrents.settle(reel)
            self._settled.add(reel.name)
        is_news = index.reels.holds_any(reel.id, ("remote", "waiting", "refused", "verified"))
        rows = [row for row in index.packs.reel_rows(reel.id) if row.state != "unpacked"] if is_news else []
        if not rows:
            return Outcome()
        candidates = [Candidate(r.oid, path, r.offset or 0, r.size, r.digest, is_ours=True) for r in rows]
        outcome = self._state.ingest().run(candidates, stop=cancelled, progress=progress)
        with index.transaction():
            index.packs.set_state([c.oid for c, _ in outcome.waiting], "waiting")
            for candidate, error in outcome.refused:
                log.error("%s of reel %s is refused: %s", candidate.oid.hex(), reel.name, error)
                index.packs.set_state([candidate.oid], "refused", str(error))
        return outcome

    def _move_refs(self) -> RefReport:
        state = self._state
        held = state.held
        assert held is not None
        catalogue = held.catalogue
        why = why_all_stay(state)
        if why is not None:
            return RefReport(0, dict.fromkeys(catalogue.refs, why))
        report = follow_refs(state.repository, state.index, catalogue.refs, catalogue.head, state.demands())
        if NOT_YET not in report.held_back.values():
            state.index.meta.set(FOLLOWED, str(catalogue.version))
        sources = state.config.get_all("source")
        place = f"the catalogue of {catalogue.repository}" + (f" ({sources[0]})" if sources else "")
        refuse_pushes(state.repository, catalogue.refs, place)
        # One line for each reason: a catalogue may hold a hundred thousand refs.
        for reason, count in Counter(report.held_back.values()).items():
            name = next(n for n, r in report.held_back.items() if r == reason).decode("utf-8", "replace")
            level = logging.INFO if reason == NOT_YET else logging.WARNING
            log.log(level, "%d refs stay where they are, %s first: %s", count, name, reason)
        return report
