# SPDX-License-Identifier: GPL-3.0-or-later
"""The way in of design.md §8: packs are examined here, batch by batch, while git indexes the one before (`behind`).

One thread at a time calls this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from gtfs.counted import counted
from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId, PackDigest
from gtfs.ingest.batch import Batch, Member
from gtfs.ingest.behind import Behind
from gtfs.ingest.candidate import Candidate, Views
from gtfs.ingest.examine import Examination, Examiner, Gate, Waiting
from gtfs.ingest.halves import Halves
from gtfs.ingest.laststeps import InGit, LastSteps, SignOffWriter
from gtfs.ingest.lost import doubt, missing_objects
from gtfs.ingest.outcome import Outcome
from gtfs.ingest.recent import Contents, Recent
from gtfs.ingest.upcoming import Upcoming
from gtfs.pack.decode import MissingBase
from gtfs.pack.limits import Limits
from gtfs.pack.trees import MissingObject, RawObject
from gtfs.reel.index import Index
from gtfs.reel.openreel import OpenReelWriter
from gtfs.repo.catfile import CatFile
from gtfs.repo.known import KnownObjects
from gtfs.repo.repository import Repository
from gtfs.repo.unpack import GitRefused
from gtfs.trust.several import open_pool

log = logging.getLogger(__name__)

_MOST_UNPACKED: Final = 1 << 17  # ids, of which it is remembered between batches that they are here


class Ingest:
    """Lets packs into one repository; a context manager."""

    def __init__(
        self,
        repository: Repository,
        index: Index,
        open_reel: Callable[[], OpenReelWriter],
        gate: Gate,
        sign_off: SignOffWriter,
        limits: Limits | None = None,
        *,
        keeps_marks: bool = False,
        borrows: bool = False,
    ) -> None:
        self._borrows = borrows  # in a fork, what git has of the repository beside it is as good as let in (§12)
        self._repository = repository
        self._index = index
        self._limits = limits or Limits()
        self._fmt = repository.fmt
        self._examiner = Examiner(repository.fmt, self._limits, gate)
        self._last_steps = LastSteps(repository, index, open_reel, sign_off, self._limits, keeps_marks=keeps_marks)
        self._reader = CatFile(repository)
        self._known = KnownObjects(repository)
        self._unpacked: set[ObjectId] = set()  # what the index and git agree on, as of the last look at git's packs
        self._spool_number = 0
        self._recent = Recent()

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._close()

    def forget(self) -> None:
        """Give back what is kept for the next packs; it is found again when it is needed."""
        self._close()
        self._unpacked.clear()
        self._examiner.forget()

    def _close(self) -> None:
        self._reader.close()
        self._known.close()
        self._last_steps.close()

    def use_gate(self, gate: Gate) -> None:
        """Judge by another gate from the next examination on."""
        self._examiner = Examiner(self._fmt, self._limits, gate)

    def scan(self, candidate: Candidate) -> Examination:
        """Step 1 for one file, and its name; raises `CorruptPack`, `NotWhole` before all else, OSError."""
        with Views(self._repository.state_directory) as views:
            return self._scan(candidate, views)

    def _scan(self, candidate: Candidate, views: Views) -> Examination:
        if candidate.examination is not None:
            return candidate.examination
        return self._examiner.scan(views.bytes_of(candidate), candidate.oid, candidate.promised)

    def check(self, examination: Examination, promised: PackDigest | None) -> None:
        """Steps 2 to 4 for what was scanned, unless its parents are not here yet; what was found stays with it.

        Raises `CorruptPack`, the gate's refusal, OSError.
        """
        self._look_again()
        with suppress(Waiting):
            self._examiner.examine(examination, promised, self._look_up, self._absent, keep=True)

    def run(
        self,
        candidates: Iterable[Candidate],
        *,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda _n: None,
    ) -> Outcome:
        """Let the candidates in, in their order (parents first spares retries).

        ``progress`` hears how many are unpacked and held. Raises OSError (a full disk): batches before are kept.
        """
        outcome = Outcome()
        with (
            closing(self._recent),
            Views(self._repository.state_directory) as views,
            open_pool() as searching,
            Behind(self._last_steps, self._record) as behind,
        ):
            todo = self._upcoming(candidates, views, searching)

            def note(done: tuple[list[Member], list[ObjectId]] | None) -> list[Candidate]:
                """Count what is recorded; gives what is to be examined again."""
                if done is None:
                    return []
                members, vanished = done
                for member in members:
                    if member.oid not in vanished:
                        outcome.note(member)
                progress(len(outcome.unpacked))
                return [m.candidate for m in members if m.oid in vanished]

            def is_settled(gathered: Batch) -> bool:
                """Whether nothing vanished meanwhile; else that comes again, and then what may stand on it."""
                again = note(behind.recorded())
                if not again:
                    return True
                later = behind.batch
                try:
                    behind.wait_in_git()
                    again += note(behind.recorded())
                except GitRefused:  # perhaps for want of what has vanished
                    again += [m.candidate for m in later.members] if later is not None else []
                self._recent.clear()
                todo.put_back([*again, *(m.candidate for m in gathered.members)])
                return False

            while todo or behind:
                batch = self._gather(todo, behind, outcome, stop)
                before = behind.batch
                try:
                    if not is_settled(batch):
                        batch.close()
                        continue
                    behind.wait_in_git()
                except GitRefused as e:
                    # Find the one to blame, then look again at what was examined on top of it.
                    todo.put_back([m.candidate for m in batch.members])
                    batch.close()
                    assert before is not None
                    count, why = len(before.members), e.reason
                    log.warning("git refused a batch of %s (%s); parts of it are tried", counted(count, "pack"), why)
                    self._recent.clear()
                    Halves(
                        lambda some: self._upcoming(some, views, searching),
                        lambda some: self._gather(some, behind, outcome, lambda: False),
                        self._let_in_afresh,
                        lambda m, why: why.lacks_objects and self._have_lost(m.parents),
                        outcome,
                    ).run(before.members)
                    progress(len(outcome.unpacked))
                    continue
                except BaseException:
                    batch.close()
                    raise
                if batch.members:
                    batch.end()
                    behind.start(batch)
                    continue
                batch.close()
                is_settled(batch)
                if stop():
                    break
        if not todo:
            self._last_steps.release_leftover()
        return outcome

    def _upcoming(self, candidates: Iterable[Candidate], views: Views, pool: Executor) -> Upcoming:
        return Upcoming(
            candidates,
            lambda candidate: self._scan(candidate, views),
            lambda examination, candidate: self._examiner.search(examination, candidate.promised),
            pool,
        )

    def _gather(self, todo: Upcoming, behind: Behind, outcome: Outcome, stop: Callable[[], bool]) -> Batch:
        """Steps 1 to 4 until a batch is full, or enough while git has nothing to do.

        What a batch still on its way holds counts as here.
        """
        before = behind.batch
        batch = self._new_batch(before)
        before_oids = behind.oids()
        most_bytes = self._limits.delta_object_bytes

        def lookup_before(oid: ObjectId) -> Contents | None:
            # Not in this batch, whose objects may stand on those before.
            found = self._recent.get(oid)
            if found is None and before is not None:
                found = before.read(oid, most_bytes, self._from_repository)
            return found or self._from_repository(oid)

        def lookup(oid: ObjectId, most: int) -> RawObject | None:
            found = self._recent.get(oid)
            if found is not None:
                return RawObject(found[0], len(found[1]), found[1] if len(found[1]) <= most else None)
            large = batch.over(oid, most) or (before.over(oid, most) if before is not None else None)
            if large is not None:
                return large
            found = batch.read(oid, most_bytes, lookup_before)
            if found is None and before is not None:
                found = before.read(oid, most_bytes, self._from_repository)
            raw = self._look_up(oid, most) if found is None else RawObject(found[0], len(found[1]), found[1])
            if raw is not None and raw.data is not None:
                self._recent.put(oid, (raw.kind, raw.data))
            return raw

        def absent(parents: Sequence[ObjectId]) -> list[ObjectId]:
            return self._absent([p for p in parents if p not in batch.oids and p not in before_oids])

        while todo and not batch.is_full and not stop():
            if batch.is_enough and behind.is_idle:
                break
            if not batch.suits(todo.first()):
                break
            candidate, examination, search = todo.take()
            if candidate.oid in batch.oids or candidate.oid in before_oids:
                continue
            parents: tuple[ObjectId, ...] = ()
            try:
                if not isinstance(examination, Examination):
                    raise examination
                parents = examination.parents
                examined = self._examiner.examine(examination, candidate.promised, lookup, absent, search=search)
            except Waiting as e:
                outcome.waiting.append((candidate, e.parents))
                continue
            except OSError:
                batch.close()
                raise
            except MissingBase as e:
                if self._have_lost([p for p in parents if p not in batch.oids and p not in before_oids]):
                    outcome.waiting.append((candidate, parents))
                else:
                    outcome.refuse(candidate, e)
                continue
            except GtfsError as e:
                if e.fault in (Blame.SYSTEM, Blame.BUSY):  # nothing was found out of the pack
                    batch.close()
                    raise
                outcome.refuse(candidate, e)
                continue
            for finding in examined.findings:
                log.debug("%s: object %s: %s", candidate.oid.hex(), finding.oid.hex(), finding.text)
            batch.add(candidate, examined, examination.pack)
            self._recent.put_bases(examined.decoded)
        return batch

    def _new_batch(self, before: Batch | None) -> Batch:
        self._spool_number += 1
        if len(self._unpacked) > _MOST_UNPACKED:
            self._unpacked.clear()  # the index knows
        self._look_again()
        path: Path = self._repository.layout.batch(self._spool_number)
        if before is None:
            return Batch(path, self._fmt, self._known.packed_among, is_first=True)

        def here(oids: Sequence[ObjectId]) -> set[ObjectId]:
            found = before.among(oids)
            return found | self._known.packed_among([oid for oid in oids if oid not in found])

        return Batch(path, self._fmt, here)

    def _look_again(self) -> None:
        if self._known.refresh():
            self._unpacked.difference_update([oid for oid in list(self._unpacked) if oid not in self._known])
            self._reader.close()  # what was repacked takes room on the disk for as long as a git has it open

    def _let_in(self, batch: Batch) -> list[ObjectId]:
        """Steps 5 to 9 for one batch, see `LastSteps.record`."""
        return self._record(batch, self._last_steps.into_git(batch))

    def _record(self, batch: Batch, there: InGit) -> list[ObjectId]:
        vanished = self._last_steps.record(batch, there)
        self._unpacked |= batch.oids.difference(vanished)
        return vanished

    def _let_in_afresh(self, batch: Batch) -> list[ObjectId]:
        """The same, and what was examined on top of what does not come in is forgotten."""
        try:
            again = self._let_in(batch)
        except GitRefused:
            self._recent.clear()
            raise
        if again:
            self._recent.clear()
        return again

    def _have_lost(self, parents: Sequence[ObjectId]) -> bool:
        """Whether git lacks anything of these, which are unpacked; a full look for what is lost is due then."""
        here = [p for p in parents if p in self._unpacked]
        have_lost = any(True for _ in missing_objects(self._repository, here, history=False))
        if have_lost:
            doubt(self._index)
        return have_lost

    def _look_up(self, oid: ObjectId, most: int) -> RawObject | None:
        try:
            return self._reader.read(oid, most)
        except MissingObject:
            return None

    def _from_repository(self, oid: ObjectId) -> Contents | None:
        raw = self._look_up(oid, self._limits.delta_object_bytes)
        return None if raw is None or raw.data is None else (raw.kind, raw.data)

    def _absent(self, parents: Sequence[ObjectId]) -> list[ObjectId]:
        asked = [p for p in parents if p not in self._unpacked]
        if not asked:
            return []
        rows = self._index.packs.get_many(asked)
        unpacked = [oid for oid, row in rows.items() if row.stage == "unpacked"]
        if any(oid not in self._known for oid in unpacked):  # or it came from another thread since the last look
            self._look_again()
        here = {oid for oid in unpacked if oid in self._known}
        if len(here) < len(unpacked):
            doubt(self._index)
        if self._borrows:
            here |= {oid for oid in asked if oid in self._known}
        self._unpacked |= here
        return [p for p in asked if p not in here]
