# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps 5 to 9 of design.md §8 for batches of packs that passed those before; numbers in comments are that section's.

`into_git` of one batch may run beside `record` of the batch before; each is one thread at a time's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

from gtfs.ids import ObjectId
from gtfs.ingest.batch import Batch
from gtfs.ingest.faults import git_levels
from gtfs.ingest.lost import rely_on
from gtfs.ingest.othersigners import signature_row
from gtfs.ingest.takeup import take_up
from gtfs.ingest.tips import hold
from gtfs.pack.limits import Limits
from gtfs.reel.index import Index, SeenPack, SignOff
from gtfs.reel.openreel import OpenReelWriter
from gtfs.repo.joinedindex import join_packs
from gtfs.repo.known import KnownObjects
from gtfs.repo.repository import Repository
from gtfs.repo.unpack import kept_marks, known_fsck_ids, release, unpack
from gtfs.repo.work import Work
from gtfs.trust.signoff import SignoffRow


class SignOffWriter(Protocol):
    """Step 5: writes one signed file for a batch, fsynced, and gives its name and time in seconds."""

    def __call__(self, packs: Sequence[SignoffRow]) -> tuple[str, int]: ...


class InGit(NamedTuple):
    """A batch whose objects are where git looks for them, and that nothing records yet."""

    marks: list[Path]  # `.keep` files
    file: str  # of the sign-off
    time_s: int


class LastSteps:
    """The end of one repository's way in. ``keeps_marks``: it is a clone, in which git makes the refs."""

    def __init__(
        self,
        repository: Repository,
        index: Index,
        open_reel: Callable[[], OpenReelWriter],
        sign_off: SignOffWriter,
        limits: Limits,
        *,
        keeps_marks: bool,
    ) -> None:
        self._repository = repository
        self._index = index
        self._open_reel = open_reel
        self._sign_off = sign_off
        self._limits = limits
        # In a clone it is git that makes refs: what they will reach stays marked until it has (design.md §12).
        self._keeps_marks = keeps_marks
        self._known: KnownObjects | None = None  # of `record`, which looks again in between
        self._came: set[str] = set()  # names of the indexes of git's packs that were made here
        self._joins_packs = True  # until that is of no use
        self._leftover = kept_marks(repository)  # of packs that were not recorded: what is in them comes again

    def close(self) -> None:
        """Give back what is kept for the next batch."""
        if self._known is not None:
            self._known.close()

    def release_leftover(self) -> None:
        """All that came again is recorded: what is in the packs of batches that were not is held by now."""
        if not self._keeps_marks:
            release(self._leftover)
            self._leftover = []

    def into_git(self, batch: Batch) -> InGit:
        """Steps 5 to 7 for one batch, of which nothing is written any more. Raises `GitRefused`, OSError."""
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
                    # Also what is accepted and has no fault that we know: another git may find one.
                    skipped = {f.oid for m in members for f in m.findings if f.needs_skipping}
                    skipped = skipped.union(*(m.accepted for m in members))
                    marks = unpack(self._repository, batch.path, batch.largest_bytes, levels, skipped)
            file, time_s = signing.result()
        except BaseException:
            self._leftover += marks
            raise
        finally:
            batch.discard()
        return InGit(marks, file, time_s)

    def leave(self, there: InGit) -> None:
        """What git has of a batch is not recorded; when it has come again, `release_leftover` is its end."""
        self._leftover += there.marks

    def record(self, batch: Batch, there: InGit) -> list[ObjectId]:
        """Steps 8 and 9 for one batch, those before it recorded.

        Gives those that have to be examined again: somebody has thrown away what git had of them. Raises OSError.
        """
        members = batch.members
        if self._vanished(batch):
            self.leave(there)
            return [m.oid for m in members]
        try:
            self._write_down(batch, there)
        except BaseException:
            self.leave(there)
            raise
        # 9, and only then may git's own housekeeping have the pack.
        if not self._keeps_marks:
            hold(self._repository, self._index, {m.oid: m.parents for m in members})
            release(there.marks)
        if there.marks and self._joins_packs:
            self._came.update(mark.with_suffix(".idx").name for mark in there.marks)
            self._joins_packs = join_packs(self._repository, self._came)
        vanished = self._vanished(batch)
        if vanished:
            self._index.packs.set_stage(vanished, "verified")
        return vanished

    def _write_down(self, batch: Batch, there: InGit) -> None:
        """Step 8: what no reel of a catalogue promises is shown in its canonical bytes, whatever bytes brought it."""
        members = batch.members
        unpromised = [m.oid for m in members if m.candidate.promised is None]
        with self._index.transaction():
            # Before there are rows.
            rely_on(self._index, [mark.with_suffix(".pack").name for mark in there.marks])
            take_up(self._repository, self._index, self._open_reel(), unpromised, self._limits, Work(jobs=1))
            self._index.packs.set_kind_time(SeenPack(m.oid, m.kind, m.time_s, m.parents) for m in members)
            self._index.packs.set_stage([m.oid for m in members], "unpacked")
            found = {m.oid: signature_row(m.vouch.found, m.vouch.keyring) for m in members if m.vouch.found}
            self._index.signers.put(found)
            self._index.signoffs.add(SignOff(m.oid, there.file, m.vouch.to_text(), there.time_s) for m in members)

    def _vanished(self, batch: Batch) -> list[ObjectId]:
        """The packs of a batch of which git has lost what it had before."""
        if not batch.skipped:
            return []
        if self._known is None:
            self._known = KnownObjects(self._repository)
        else:
            self._known.refresh()
        gone = {oid for oid in batch.skipped if oid not in self._known}
        return list(dict.fromkeys(pack for oid in gone for pack in batch.skipped[oid]))
