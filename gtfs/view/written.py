# SPDX-License-Identifier: GPL-3.0-or-later
"""Where packs written through the mount go: judged at flush, ingested in batches, kept while they wait (design.md §9).

Trio loop; checks and ingest run in threads, each with objects of its own.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import trio

from gtfs.errors import GtfsError
from gtfs.ids import ObjectId
from gtfs.ingest.batch import MAX_PACKS
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.ingest import Outcome
from gtfs.ingest.takeup import parents_first
from gtfs.pack.format import CorruptPack
from gtfs.state.state import State

log = logging.getLogger(__name__)

_QUIET_S = 0.1  # without another pack, and a batch begins
_PATIENCE_S = 5.0  # and at the latest after this
_RETRY_S = 10.0  # after a full disk or a lock of git's


class WrittenPacks:
    """The mount's IncomingSink."""

    def __init__(self, state: State, writing: trio.CapacityLimiter, changed: Callable[[list[ObjectId]], None]) -> None:
        self._state = state
        self._writing = writing
        self._changed = changed
        self._checker = state.new_ingest()
        self._checking = trio.CapacityLimiter(1)
        self._queued: dict[ObjectId, Path] = {}
        self._in_hand: dict[ObjectId, Path] = {}
        self._waiting: dict[ObjectId, Path] = {}
        self._children: dict[ObjectId, set[ObjectId]] = {}
        self._wake = trio.Event()
        self.last_error: str | None = None
        self.write_error: str | None = None

    @property
    def directory(self) -> Path:
        """``incoming/``."""
        return self._state.incoming

    def statistics(self) -> dict[str, object]:
        """For status."""
        return {
            "queued": len(self._queued) + len(self._in_hand),
            "waiting": len(self._waiting),
            "error": self.last_error or self.write_error,
        }

    def note_trouble(self, text: str | None) -> None:
        """See `mount.tree.IncomingSink`."""
        self.write_error = text

    async def check(self, path: Path, oid: ObjectId) -> None:
        """See `mount.tree.IncomingSink`."""
        await trio.to_thread.run_sync(self._check, path, oid, limiter=self._checking)

    def _candidate(self, path: Path, oid: ObjectId) -> Candidate:
        """Promised only if it is byte for byte what the table of an accepted catalogue's reel names."""
        row = self._state.index.packs.get(oid)
        promised = None
        if row is not None and row.reel is not None and row.digest is not None:
            with path.open("rb") as f:
                if hashlib.file_digest(f, "sha256").digest() == row.digest:
                    promised = row.digest
        return Candidate(oid, path, 0, path.stat().st_size, promised, is_ours=False)

    def _check(self, path: Path, oid: ObjectId) -> None:
        self._checker.use_gate(self._state.gate())
        try:
            self._checker.check(self._candidate(path, oid))
        except GtfsError as e:
            if e.exit_code == CorruptPack.exit_code:
                self._state.quarantine.take(path, oid, str(e))
            raise

    async def queue(self, path: Path, oid: ObjectId) -> None:
        """See `mount.tree.IncomingSink`."""
        self._queued[oid] = path
        self._wake.set()

    def withdraw(self, oid: ObjectId) -> bool:
        """See `mount.tree.IncomingSink`. A path is all that is known of a file: while it is in hand it must mean it."""
        if oid in self._in_hand:
            return False
        self._queued.pop(oid, None)
        self._waiting.pop(oid, None)
        return True

    async def ingest_task(self) -> None:
        """Lets in what is queued, and what waited for it, until cancelled."""
        while True:
            await self._wake.wait()
            await self._wait_quiet()
            try:
                async with self._writing:  # until it is our turn, their owners may have them back
                    self._wake = trio.Event()
                    self._in_hand, self._queued = self._queued, {}
                    outcome = await trio.to_thread.run_sync(self._let_in, self._in_hand)
            except (OSError, GtfsError) as e:
                self.last_error = str(e)
                log.error("%d written packs are kept in %s and tried again: %s", len(self._in_hand), self.directory, e)
                self._queued = self._in_hand | self._queued
                self._in_hand = {}
                with trio.move_on_after(_RETRY_S):
                    await self._wake.wait()
                self._wake.set()
                continue
            self.last_error = None
            self._in_hand = {}
            self._settle(outcome)
            self._changed(outcome.unpacked)

    async def _wait_quiet(self) -> None:
        """Let a writer of many files go on: a batch costs a signature and several processes, and the interpreter."""
        with trio.move_on_after(_PATIENCE_S):
            count = -1
            while count < len(self._queued) < MAX_PACKS:
                count = len(self._queued)
                await trio.sleep(_QUIET_S)

    def _let_in(self, queued: dict[ObjectId, Path]) -> Outcome:
        ingest = self._state.ingest()
        named: dict[ObjectId, tuple[ObjectId, ...]] = {}
        refused: list[tuple[Candidate, GtfsError]] = []
        candidates: dict[ObjectId, Candidate] = {}
        for oid, path in queued.items():
            if not path.exists():  # not by its owner's wish, see `withdraw`
                continue
            candidates[oid] = self._candidate(path, oid)
            try:
                named[oid] = ingest.parents(candidates[oid])
            except GtfsError as e:
                refused.append((candidates[oid], e))
        outcome = ingest.run(candidates[oid] for oid in parents_first(named.items()))
        outcome.refused += refused
        for oid in outcome.unpacked:
            queued[oid].unlink(missing_ok=True)
        for candidate, error in outcome.refused:
            self._state.quarantine.take(candidate.path, candidate.oid, str(error))
        return outcome

    def _settle(self, outcome: Outcome) -> None:
        for candidate, parents in outcome.waiting:
            self._waiting[candidate.oid] = candidate.path
            for parent in parents:
                self._children.setdefault(parent, set()).add(candidate.oid)
        self.look_again()

    def look_again(self) -> None:
        """Packs came, by plain git or from peers perhaps: queue what waited for them. On the loop."""
        rows = self._state.index.packs.get_many([p for p in self._children if p not in self._waiting])
        # All that descends from what came, at once: a long chain that arrived backwards is then one batch.
        todo = [oid for oid, row in rows.items() if row.state == "unpacked"]
        while todo:
            for child in self._children.pop(todo.pop(), ()):
                path = self._waiting.pop(child, None)
                if path is not None:
                    self._queued[child] = path
                    self._wake.set()
                todo.append(child)
