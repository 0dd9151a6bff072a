# SPDX-License-Identifier: GPL-3.0-or-later
"""The batches behind the one that is being gathered: git is at work at the last, while the one before is recorded.

One thread calls; each of the two has a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

from gtfs.ids import ObjectId
from gtfs.ingest.batch import Batch, Member
from gtfs.ingest.laststeps import InGit, LastSteps


class UnderWay(NamedTuple):
    """A batch and what will be known of it."""

    batch: Batch
    there: Future[InGit]
    recorded: Future[list[ObjectId]]  # gives the packs that are to be examined again


class Behind:
    """At most two batches under way; a context manager. ``record``: `LastSteps.record`, in the order of the batches."""

    def __init__(self, steps: LastSteps, record: Callable[[Batch, InGit], list[ObjectId]]) -> None:
        self._steps = steps
        self._record = record
        self._git = ThreadPoolExecutor(1, "gtfs-unpack")
        self._recorder = ThreadPoolExecutor(1, "gtfs-record")
        self._in_git: UnderWay | None = None
        self._before: UnderWay | None = None  # git has it

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._git.shutdown()
        self._recorder.shutdown()
        if self._in_git is not None:
            self._in_git.batch.close()

    def __bool__(self) -> bool:
        return self._in_git is not None or self._before is not None

    @property
    def batch(self) -> Batch | None:
        """The one that git is at work at."""
        return None if self._in_git is None else self._in_git.batch

    @property
    def is_idle(self) -> bool:
        """Whether git has nothing to do."""
        return self._in_git is None or self._in_git.there.done()

    def oids(self) -> set[ObjectId]:
        """The packs that may not be recorded yet."""
        return {oid for way in (self._in_git, self._before) if way is not None for oid in way.batch.oids}

    def start(self, batch: Batch) -> None:
        """Begin with another one, when git is through with that before."""
        before = self._before
        there = self._git.submit(self._steps.into_git, batch)

        def record() -> list[ObjectId]:
            in_git = there.result()
            try:
                again = [] if before is None else before.recorded.result()
            except BaseException:
                self._steps.leave(in_git)
                raise
            if again:  # what is in it may stand on what is not recorded
                self._steps.leave(in_git)
                return list(batch.oids)
            return self._record(batch, in_git)

        self._in_git = UnderWay(batch, there, self._recorder.submit(record))

    def wait_in_git(self) -> None:
        """Return when git is through with the last one, which is the one before from now on, once that is told of.

        Raises what `into_git` does.
        """
        way = self._in_git
        if way is None:
            return
        try:
            way.there.result()
        finally:
            way.batch.close()
            self._in_git = None
        assert self._before is None
        self._before = way

    def recorded(self) -> tuple[list[Member], list[ObjectId]] | None:
        """The packs of the one before, and those that are to be examined again; waits. Raises what `record` does."""
        way, self._before = self._before, None
        return None if way is None else (way.batch.members, way.recorded.result())
