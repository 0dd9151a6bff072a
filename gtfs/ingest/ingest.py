# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps 5 to 9 of design.md §8 for batches of examined packs; the numbers in comments are that section's.

While git indexes one batch in another thread, the next one is examined here. One thread at a time calls this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, TypeAlias

from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId, PackDigest
from gtfs.ingest.batch import Batch
from gtfs.ingest.candidate import Candidate, Views
from gtfs.ingest.examine import Examination, Examiner, Gate, Waiting
from gtfs.ingest.faults import git_levels
from gtfs.ingest.halves import Halves
from gtfs.ingest.lost import doubt, missing_objects, rely_on
from gtfs.ingest.othersigners import signature_row
from gtfs.ingest.outcome import Outcome
from gtfs.ingest.recent import Contents, Recent
from gtfs.ingest.takeup import take_up
from gtfs.ingest.tips import hold
from gtfs.ingest.upcoming import Upcoming
from gtfs.pack.decode import MissingBase
from gtfs.pack.limits import Limits
from gtfs.pack.trees import MissingObject
from gtfs.reel.index import Index, SeenPack, SignOff
from gtfs.reel.openreel import OpenReelWriter
from gtfs.repo.catfile import CatFile
from gtfs.repo.joinedindex import JoinedIndex
from gtfs.repo.known import KnownObjects
from gtfs.repo.repository import Repository
from gtfs.repo.unpack import GitRefused, kept_marks, known_fsck_ids, release, unpack
from gtfs.repo.work import Work
from gtfs.trust.several import open_pool
from gtfs.trust.signoff import SignoffRow

log = logging.getLogger(__name__)

_Running: TypeAlias = tuple[Batch, Future[list[ObjectId]]]

_MOST_UNPACKED: Final = 1 << 17  # ids, of which it is remembered between batches that they are here


class SignOffWriter(Protocol):
    """Step 5: writes one signed file for a batch, fsynced, and gives its name and time in seconds."""

    def __call__(self, packs: Sequence[SignoffRow]) -> tuple[str, int]: ...


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
        # In a clone it is git that makes refs: what they will reach stays marked until it has (design.md §12).
        self._keeps_marks = keeps_marks
        self._repository = repository
        self._index = index
        self._open_reel = open_reel
        self._limits = limits or Limits()
        self._fmt = repository.fmt
        self._examiner = Examiner(repository.fmt, self._limits, gate)
        self._sign_off = sign_off
        self._reader = CatFile(repository)
        self._known = KnownObjects(repository)
        self._joined_index = JoinedIndex(repository)
        self._known_behind: KnownObjects | None = None  # of `_let_in`, which looks again in between
        self._unpacked: set[ObjectId] = set()  # what the index and git agree on, as of the last look at git's packs
        self._leftover = kept_marks(repository)  # of packs that were not recorded: what is in them comes again
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
        if self._known_behind is not None:
            self._known_behind.close()

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
            self._examiner.examine(examination, promised, self._from_repository, self._absent, keep=True)

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
            ThreadPoolExecutor(1, "gtfs-unpack") as pool,
        ):
            todo = self._upcoming(candidates, views, searching)
            running: _Running | None = None
            while todo or running:
                batch = self._gather(todo, running, outcome, stop)
                if running is not None:
                    done, future = running
                    running = None
                    try:
                        vanished = future.result()
                    except GitRefused as e:
                        # Find the one to blame, then look again at what was examined on top of it.
                        todo.put_back([m.candidate for m in batch.members])
                        batch.close()
                        count, why = len(done.members), e.reason
                        log.warning("git refused a batch of %d packs (%s); parts of it are tried", count, why)
                        self._recent.clear()
                        Halves(
                            lambda some: self._upcoming(some, views, searching),
                            lambda some: self._gather(some, None, outcome, lambda: False),
                            self._let_in_afresh,
                            lambda m, why: why.lacks_objects and self._have_lost(m.parents),
                            outcome,
                        ).run(done.members)
                        progress(len(outcome.unpacked))
                        continue
                    except BaseException:
                        batch.close()
                        raise
                    finally:
                        done.close()
                    for member in done.members:
                        if member.oid not in vanished:
                            outcome.note(member)
                    if vanished:
                        self._recent.clear()
                        todo.put_back([m.candidate for m in done.members if m.oid in vanished])
                    progress(len(outcome.unpacked))
                if not batch.members:
                    batch.close()
                    if stop():
                        break
                    continue
                batch.end()
                running = (batch, pool.submit(self._let_in, batch))
        if not todo and not self._keeps_marks:
            release(self._leftover)
            self._leftover = []
        return outcome

    def _upcoming(self, candidates: Iterable[Candidate], views: Views, pool: Executor) -> Upcoming:
        return Upcoming(
            candidates,
            lambda candidate: self._scan(candidate, views),
            lambda examination, candidate: self._examiner.search(examination, candidate.promised),
            pool,
        )

    def _gather(self, todo: Upcoming, running: _Running | None, outcome: Outcome, stop: Callable[[], bool]) -> Batch:
        """Steps 1 to 4 until a batch is full, or enough while git has nothing to do.

        What a batch still on its way holds counts as here.
        """
        before = running[0] if running is not None else None
        batch = self._new_batch(before)
        before_oids = before.oids if before is not None else set()
        most_bytes = self._limits.delta_object_bytes

        def lookup_before(oid: ObjectId) -> Contents | None:
            # Not in this batch, whose objects may stand on those before.
            found = self._recent.get(oid)
            if found is None and before is not None:
                found = before.read(oid, most_bytes, self._from_repository)
            return found or self._from_repository(oid)

        def lookup(oid: ObjectId) -> Contents | None:
            found = self._recent.get(oid) or batch.read(oid, most_bytes, lookup_before) or lookup_before(oid)
            if found is not None:
                self._recent.put(oid, found)
            return found

        def absent(parents: Sequence[ObjectId]) -> list[ObjectId]:
            return self._absent([p for p in parents if p not in batch.oids and p not in before_oids])

        while todo and not batch.is_full and not stop():
            if batch.is_enough and (running is None or running[1].done()):
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
                    outcome.refused.append((candidate, e))
                continue
            except GtfsError as e:
                if e.fault is Blame.SYSTEM:
                    batch.close()
                    raise
                outcome.refused.append((candidate, e))
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
            return Batch(path, self._fmt, self._known.packed_among)

        def here(oids: Sequence[ObjectId]) -> set[ObjectId]:
            found = before.among(oids)
            return found | self._known.packed_among([oid for oid in oids if oid not in found])

        return Batch(path, self._fmt, here)

    def _look_again(self) -> None:
        if self._known.refresh():
            self._unpacked.difference_update([oid for oid in list(self._unpacked) if oid not in self._known])
            self._reader.close()  # what was repacked takes room on the disk for as long as a git has it open

    def _let_in(self, batch: Batch) -> list[ObjectId]:
        """Steps 5 to 9 for one batch; runs beside `_gather` of the next.

        Gives those that have to be examined again: somebody has thrown away what git had of them.
        """
        members = batch.members
        marks: list[Path] = []
        try:
            batch.finish()
            with ThreadPoolExecutor(1, "gtfs-sign-off") as beside:
                # 5, while git is at work: gpg mostly waits
                signed = [SignoffRow(m.oid, m.digest, m.length, m.vouch) for m in members]
                signing = beside.submit(self._sign_off, signed)
                # 6, 7
                if batch.has_objects:
                    levels = git_levels(batch.is_promised, known_fsck_ids())
                    skipped = {f.oid for m in members for f in m.findings if f.needs_skipping}
                    marks = unpack(self._repository, batch.path, batch.largest_bytes, levels, skipped)
            file, time_s = signing.result()
        except BaseException:
            self._leftover += marks
            raise
        finally:
            batch.discard()
        if self._vanished(batch):
            self._leftover += marks
            return [m.oid for m in members]
        # 8: what no reel of a catalogue promises is shown in its canonical bytes, whatever bytes brought it.
        unpromised = [m.oid for m in members if m.candidate.promised is None]
        with self._index.transaction():
            rely_on(self._index, [mark.with_suffix(".pack").name for mark in marks])  # before there are rows
            take_up(self._repository, self._index, self._open_reel(), unpromised, self._limits, Work(jobs=1))
            self._index.packs.set_kind_time(SeenPack(m.oid, m.kind, m.time_s, m.parents) for m in members)
            self._index.packs.set_stage([m.oid for m in members], "unpacked")
            found = {m.oid: signature_row(m.vouch.found, m.vouch.keyring) for m in members if m.vouch.found}
            self._index.signers.put(found)
            self._index.signoffs.add(SignOff(m.oid, file, m.vouch.to_text(), time_s) for m in members)
        # 9, and only then may git's own housekeeping have the pack.
        if not self._keeps_marks:
            hold(self._repository, self._index, {m.oid: m.parents for m in members})
            release(marks)
        self._joined_index.came(len(marks))
        vanished = self._vanished(batch)
        if vanished:
            self._index.packs.set_stage(vanished, "verified")
        self._unpacked |= batch.oids.difference(vanished)
        return vanished

    def _vanished(self, batch: Batch) -> list[ObjectId]:
        """The packs of a batch of which git has lost what it had before."""
        if not batch.skipped:
            return []
        if self._known_behind is None:
            self._known_behind = KnownObjects(self._repository)
        else:
            self._known_behind.refresh()
        gone = {oid for oid in batch.skipped if oid not in self._known_behind}
        return list(dict.fromkeys(pack for oid in gone for pack in batch.skipped[oid]))

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

    def _from_repository(self, oid: ObjectId) -> tuple[int, bytes] | None:
        try:
            raw = self._reader.read(oid, self._limits.delta_object_bytes)
        except MissingObject:
            return None
        return None if raw.data is None else (raw.kind, raw.data)

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
