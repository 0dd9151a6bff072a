# SPDX-License-Identifier: GPL-3.0-or-later
"""In: a catalogue is accepted, its reels' tables are fetched, and the rest by a sync (design.md §5, §8).

Trio loop; what blocks runs in threads, what writes the repository under the node's one writing limiter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import islice

import trio

from gtfs.catalogue.accept import Accepted, FirstTrust
from gtfs.counted import counted
from gtfs.errors import GtfsError
from gtfs.events import events
from gtfs.ids import ReelName
from gtfs.ingest.lost import is_doubted
from gtfs.ingest.refmoves import RefReport
from gtfs.node.nursery import cancelled, open_flat_nursery
from gtfs.node.reelfetches import OF_ONE_REEL, ReelError, ReelFetches
from gtfs.node.sync import Progress, Round, SyncReport, WayIn, move_refs
from gtfs.reel.index import ReelRow
from gtfs.reel.table import Row
from gtfs.state.firsttrust import LimitTooLow, NotFollowing
from gtfs.state.repair import look_at_git
from gtfs.state.state import State
from gtfs.state.takecatalogue import take_catalogue
from gtfs.state.turnover import Guess
from gtfs.state.withdrawal import PRUNE_GIT, withdraw
from gtfs.swarm.pieces import Offline
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)


class Follower:
    """Follows one publisher for one node."""

    def __init__(
        self,
        state: State,
        fetches: ReelFetches,
        writing: Writing,
        first: FirstTrust,
    ) -> None:
        self._state = state
        self._fetches = fetches
        self._reel_torrents = fetches.reel_torrents
        self._writing = writing
        self._first = first
        self._news = writing.news
        self._one = trio.Lock()
        self._filled: set[ReelName] = set()  # reels to which git has given what it has
        self._way_in = WayIn(state, fetches, writing)

    async def take_document(self, document: bytes) -> bool:
        """Judge a document that a feed gave; True when it is newer than what was held. Raises `CatalogueRefused`.

        `join_held` puts its reels into the swarm, or `bring_tables`, once what is here already was taken up.
        """
        accepted = await self._writing.run(self._accept, document)
        if accepted is None:
            return False
        self._news.reels.grow()
        return True

    async def join_held(self) -> None:
        """Put the reels of a catalogue that is held by now into the swarm, though whoever brought it has hung up.

        Nobody would do it again for him. What fails is for `KeepUp` to try again, and to tell.
        """
        with trio.CancelScope(shield=True):
            try:
                await self._reel_torrents.update()
            except (GtfsError, OSError) as error:
                log.info("the swarm does not have all of the held catalogue yet: %s", error)
                self._news.wanted.grow()
        self._news.reels.grow()

    def _accept(self, document: bytes) -> Accepted | None:
        accepted = take_catalogue(self._state, document, self._first)
        if accepted is None:
            return None
        version, name = accepted.catalogue.version, accepted.catalogue.repository
        events.info("%s: accepted catalogue %d of %s", self._state.repository.path, version, name)
        unusable = accepted.catalogue.unusable
        for name, reason in islice(unusable.items(), 1):
            reels = counted(len(unusable), "reel")
            log.warning("%s of the catalogue cannot be had, %s first: %s", reels, name, reason)
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

    async def join(self) -> None:
        """Put all reels into the swarm, unless tables are missing: then `bring_tables` does, after what is here.

        There a reel asks for its end at once. What the disk fails is put into it later.
        """
        if not self.lacks_tables():
            try:
                await self._reel_torrents.update()
            except OSError as error:  # all others are in it, and a node runs with these
                self._reel_torrents.not_taken.note_some(error)

    async def bring_tables(
        self, deadline_s: float, listed: Callable[[], None] = lambda: None
    ) -> dict[ReelName, ReelError]:
        """Fetch the tables that are missing, several at once; gives what went wrong, by reel.

        ``listed`` is called when all packs are known, before their reels take what is here already.
        """
        failed: dict[ReelName, ReelError] = {}
        async with self._one:
            await self._reel_torrents.make(*await self._writing.run(self._guess))
            lacking = [row for row in self._listed() if not self._reel_torrents.has_table(row)]
            await self._bring_tables(lacking, deadline_s, failed)
            listed()
            for row in lacking:
                try:
                    await self._fetches.fill(row)
                except OF_ONE_REEL as e:
                    failed.setdefault(row.name, e)
        self._news.came_in()
        # Reels that a newer catalogue, come meanwhile, has no more have left the swarm, and nobody misses them.
        now = {row.name for row in self._listed()}
        return {name: why for name, why in failed.items() if name in now}

    async def _bring_tables(
        self, rows: Sequence[ReelRow], deadline_s: float, failed: dict[ReelName, ReelError]
    ) -> None:
        some, coming = trio.CapacityLimiter(8), len(rows)

        async def bring(row: ReelRow) -> None:
            nonlocal coming
            try:
                try:
                    async with some:
                        found = await self._fetches.fetch_table(row, deadline_s)
                finally:
                    coming -= 1
                    if not coming:
                        self._news.asked.tables_here()
                await self._fetches.keep_table(row, *found)
            except OF_ONE_REEL as e:
                log.info("%s", e)
                failed[row.name] = e

        async with open_flat_nursery() as nursery:
            for row in rows:
                nursery.start_soon(bring, row)

    def _guess(self) -> list[tuple[ReelRow, list[Row]]]:
        """The reels without a table whose packs this node has made from its own git."""
        state, held = self._state, self._state.held
        listed = self._listed()
        # What was taken up and lies in no reel yet is the sign of an existing clone.
        if (
            held is None
            or all(map(self._reel_torrents.has_table, listed))
            or not state.index.packs.sealable_after(-1, 1)
        ):
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
                try:
                    await self._fetches.fill(row)
                    await trio.lowlevel.checkpoint_if_cancelled()  # then it may have ended early, and does not say so
                except (trio.Cancelled, Offline, OSError):
                    self._filled.discard(row.name)
                    raise
                except OF_ONE_REEL as e:
                    log.info("%s", e)  # what hinders the fetch, too, that tells of

    async def sync(self, progress: Callable[[Progress], None], stall_s: float = 120.0) -> SyncReport:
        """Fetch all reels, several at once, let their packs in and move refs.

        A reel that nobody gives for ``stall_s`` seconds is left out and reported. Raises `Offline`, `DiskTrouble`,
        `NotFollowing`, `LimitTooLow`, OSError.
        """
        before: SyncReport | None = None
        is_once_more = True
        while True:
            held = self._followed()
            report = await self._round(held, progress, stall_s)
            if before is not None:
                report.add(before)
            is_news = self._state.held is not held
            if not is_news and not (is_once_more and is_doubted(self._state.index)):
                return report
            # A newer catalogue came meanwhile, and lists other reels: what was missing may lie in them. Or git has lost
            # what packs stand on, which was seen only now.
            before, is_once_more = report, is_news

    async def move_refs(self) -> None:
        """Move refs to where the held catalogue has them, as far as they may now."""
        async with self._one:
            if self._state.held is not None:
                await self._move_refs()

    def _followed(self) -> Accepted:
        """The catalogue to sync with."""
        held = self._state.held
        if held is None:
            raise NotFollowing(f"{self._state.repository.path} follows no catalogue; there is nothing to sync with")
        too_low = self._limit_too_low(held)
        if too_low is not None and self._state.config.sign_key() is None:
            raise too_low
        return held

    async def _round(self, held: Accepted, progress: Callable[[Progress], None], stall_s: float) -> SyncReport:
        report = SyncReport(unusable=held.catalogue.unusable)
        # What is recorded is believed below: git may have lost objects, and the disk files, since then.
        await self._writing.run(look_at_git, self._state, cancelled)
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
        async with self._one:
            try:
                await Round(self._way_in, listed, report, progress).run(stall_s)
                if self._state.held is held:
                    # Those whose whole history is here move, whatever else is missing.
                    report.refs = await self._move_refs()
            finally:
                with trio.CancelScope(shield=True):
                    await self._writing.run(self._way_in.forget)
        return report

    async def let_go(self) -> None:
        """Let go of what the publisher has withdrawn, as far as no ref here reaches it."""
        try:
            packs = await self._writing.run(withdraw, self._state)
        except (GtfsError, OSError) as error:  # looked for again after the next catalogue, and at the next start
            log.warning("what was withdrawn stays for now: %s", error)
            return
        finally:
            self._reel_torrents.tell_gone()
        if packs:
            withdrawn = counted(packs, "pack was", "packs were")
            events.info("%s: %s withdrawn; %s", self._state.repository.path, withdrawn, PRUNE_GIT)
            self._news.moved.grow()
        held = self._state.held
        if packs or (held is not None and held.catalogue.pruned is not None):
            with trio.CancelScope(shield=True):  # nobody is given it any more, whoever hangs up
                await self._reel_torrents.update()

    async def _move_refs(self) -> RefReport:
        report = await self._writing.run(move_refs, self._state)
        self._news.came_in()
        try:
            await self.let_go()
        finally:  # they have moved, though whoever asked for it has hung up since
            if report.moved:
                held_back = counted(len(report.held_back), "is", "are")
                waiting = f", {held_back} held back" if report.held_back else ""
                moved = counted(report.moved, "ref")
                events.info("%s: %s moved%s", self._state.repository.path, moved, waiting)
                self._news.followed.grow()
        return report
