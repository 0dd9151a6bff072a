# SPDX-License-Identifier: GPL-3.0-or-later
"""Where packs written through the mount go: judged at flush, ingested in batches, kept while they wait (design.md §9).

What was scanned and decoded at flush is what the batch lets in: `judged.KeptExaminations` holds a private copy of the
bytes with what is known of them, and the file is not read again. Policy is asked again: it may be another by then.
Trio loop; checks and ingest run in threads, each with objects of its own.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import trio

from gtfs.counted import counted
from gtfs.errors import GtfsError
from gtfs.ids import ObjectId, PackDigest
from gtfs.ingest.batch import MAX_PACKS
from gtfs.ingest.candidate import Candidate, is_large, is_whole
from gtfs.ingest.outcome import Outcome
from gtfs.ingest.takeup import parents_first
from gtfs.mount.tree import Judged
from gtfs.pack.scan import NotWhole
from gtfs.state.control import Tell
from gtfs.state.listed import is_listed
from gtfs.state.state import State
from gtfs.view.judged import JudgedPack, KeptExaminations
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

_QUIET_S = 0.1  # without another pack, and a batch begins
_PATIENCE_S = 5.0  # and at the latest after this
_RETRY_S = 10.0  # after a full disk or a lock of git's
_REST_S = 15.0  # without another pack, and no git runs for the next one


class WrittenPack(NamedTuple):
    """A file that was handed over."""

    path: Path
    judged: JudgedPack


class WrittenPacks:
    """The mount's IncomingSink."""

    def __init__(self, state: State, writing: Writing) -> None:
        self._state = state
        self._writing = writing
        self._checker = state.new_ingest()
        self._checking = trio.CapacityLimiter(1)
        self._kept = KeptExaminations()
        self._queued: dict[ObjectId, WrittenPack] = {}
        self._in_hand: dict[ObjectId, WrittenPack] = {}
        self._waiting: dict[ObjectId, WrittenPack] = {}
        self._children: dict[ObjectId, set[ObjectId]] = {}
        self._wake = trio.Event()
        self._settled = trio.Event()  # a batch has come to its end, well or not
        self.last_error: str | None = None
        self.write_error: str | None = None

    @property
    def directory(self) -> Path:
        """``incoming/``."""
        return self._state.layout.incoming

    def statistics(self) -> dict[str, object]:
        """For status."""
        return {
            "queued": self._left(),
            "waiting": len(self._waiting),
            "error": self.last_error or self.write_error,
        }

    def _left(self) -> int:
        return len(self._queued) + len(self._in_hand)

    async def asked_drain(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Wait until all that is queued is taken in, or cannot be; what is left, as the status has it."""
        while self.last_error is None:
            self._look_again()  # what waited for packs that have just come in is queued, too, and its turn may be later
            if not self._left():
                break
            tell({"queued": self._left()})
            await self._settled.wait()
        return self.statistics()

    def left_text(self) -> str:
        """For the log of an end: what is still to be taken in."""
        left = self._left()
        kept = counted(left, "written pack is", "written packs are")
        return f"; {kept} kept in {self.directory} and taken in by the next node" if left else ""

    def note_trouble(self, text: str | None) -> None:
        """See `mount.tree.IncomingSink`."""
        self.write_error = text

    async def check(self, path: Path, oid: ObjectId) -> JudgedPack | None:
        """See `mount.tree.IncomingSink`."""
        try:
            judged = await trio.to_thread.run_sync(self._check, path, oid, limiter=self._checking)
        except (FileNotFoundError, NotWhole):
            return None
        row = self._state.index.packs.get(oid)
        if row is not None and row.stage == "unpacked":
            judged.examination = None  # here already: nothing will ask for it
        else:
            self._kept.add(judged)
        return judged

    def _promised(self, oid: ObjectId, digest: PackDigest) -> PackDigest | None:
        """The digest, if this is byte for byte what the table of an accepted catalogue's reel names."""
        row = self._state.index.packs.get(oid)
        return digest if row is not None and row.digest == digest and is_listed(self._state, row) else None

    def _check(self, path: Path, oid: ObjectId) -> JudgedPack:
        self._checker.use_gate(self._state.gate())
        length = path.stat().st_size
        # A large one is copied to a file to be judged: for nothing, each time that a part of it came.
        if is_large(length) and not is_whole(path, self._state.repository.fmt):
            raise NotWhole("its end is not the checksum of what stands before", length)
        try:
            found = self._checker.scan(Candidate(oid, path, 0, length, None, is_ours=False))
            self._checker.check(found, self._promised(oid, found.scan.digest))
        except NotWhole:
            raise
        except GtfsError as e:
            if e.fault.is_refusal:
                self._state.quarantine.keep(path, oid, str(e))
            raise
        return JudgedPack(oid, found.parents, found.scan.digest, found)

    def queue(self, path: Path, judged: Judged) -> None:
        """See `mount.tree.IncomingSink`."""
        assert isinstance(judged, JudgedPack)
        self._queued[judged.oid] = WrittenPack(path, judged)
        self._wake.set()

    def withdraw(self, oid: ObjectId) -> bool:
        """See `mount.tree.IncomingSink`. A path is all that is known of a file: while it is in hand it must mean it."""
        if oid in self._in_hand:
            return False
        for place in (self._queued, self._waiting):
            pack = place.pop(oid, None)
            if pack is not None:
                self._kept.drop(pack.judged)
        return True

    async def ingest_task(self) -> None:
        """Lets in what is queued, and what waited for it, until cancelled."""
        await self._wake.wait()
        while True:
            await self._wait_quiet()
            try:
                async with self._writing.turn():  # until it is our turn, their owners may have them back
                    self._wake = trio.Event()
                    self._in_hand, self._queued = self._queued, {}
                    outcome = await trio.to_thread.run_sync(self._let_in, self._in_hand)
            except (OSError, GtfsError) as e:
                self.last_error = str(e)
                kept = counted(len(self._in_hand), "written pack is", "written packs are")
                log.error("%s kept in %s and tried again: %s", kept, self.directory, e)
                self._queued = self._in_hand | self._queued
                self._in_hand = {}
                self._note_settled()
                with trio.move_on_after(_RETRY_S):
                    await self._wake.wait()
                self._wake.set()
                continue
            self.last_error = None
            self._keep_waiting(outcome)
            self._note_settled()
            self._writing.news.came_in(outcome.unpacked)
            await self._wait_woken()

    async def _wait_woken(self) -> None:
        """Return when there is something to let in. After a while without, what is kept for it is given back.

        As long as a git has a pack open that was repacked, it takes room on the disk.
        """
        with trio.move_on_after(_REST_S):
            await self._wake.wait()
            return
        await trio.to_thread.run_sync(self._checker.forget, limiter=self._checking)
        await self._writing.run(self._state.ingest().forget)
        await self._wake.wait()

    def _note_settled(self) -> None:
        self._settled.set()
        self._settled = trio.Event()

    async def _wait_quiet(self) -> None:
        """Let a writer of many files go on: a batch costs a signature and several processes, and the interpreter."""
        with trio.move_on_after(_PATIENCE_S):
            count = -1
            while count < len(self._queued) < MAX_PACKS:
                count = len(self._queued)
                await trio.sleep(_QUIET_S)

    def _let_in(self, queued: dict[ObjectId, WrittenPack]) -> Outcome:
        candidates = {
            oid: Candidate(
                oid, pack.path, 0, pack.path.stat().st_size, self._promised(oid, pack.judged.digest),
                is_ours=False, examination=pack.judged.examination,
            )
            for oid, pack in queued.items()
            if pack.path.exists()  # else it is gone, and not by its owner's wish: see `withdraw`
        }  # fmt: skip
        order = parents_first((oid, queued[oid].judged.parents) for oid in candidates)
        outcome = self._state.ingest().run(candidates[oid] for oid in order)
        for oid in outcome.unpacked:
            queued[oid].path.unlink(missing_ok=True)
        for candidate, error in outcome.refused:
            self._state.quarantine.keep(candidate.path, candidate.oid, str(error))
        return outcome

    def _keep_waiting(self, outcome: Outcome) -> None:
        in_hand, self._in_hand = self._in_hand, {}
        for candidate, parents in outcome.waiting:
            self._waiting[candidate.oid] = in_hand.pop(candidate.oid)
            for parent in parents:
                self._children.setdefault(parent, set()).add(candidate.oid)
        for pack in in_hand.values():
            self._kept.drop(pack.judged)

    async def look_again_task(self) -> None:
        """Whenever packs came, from here, by plain git or from peers: queue what waited for them."""
        git, seen = self._writing.news.git, -1
        while True:
            seen = await git.wait_beyond(seen)
            self._look_again()

    def _look_again(self) -> None:
        rows = self._state.index.packs.get_many([p for p in self._children if p not in self._waiting])
        # All that descends from what came, at once: a long chain that arrived backwards is then one batch.
        todo = [oid for oid, row in rows.items() if row.stage == "unpacked"]
        while todo:
            for child in self._children.pop(todo.pop(), ()):
                pack = self._waiting.pop(child, None)
                if pack is not None:
                    self._queued[child] = pack
                    self._wake.set()
                todo.append(child)
