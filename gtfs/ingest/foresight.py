# SPDX-License-Identifier: GPL-3.0-or-later
"""What mirrors will find in packs of ours: in those of one file, by several processes and in the packs' order, or in
each where it is made (`Foresight`, for `encode_many`), which need not read again what the pack stands on.

The steps are those of the way in, by the same `Examiner`. Runs in one thread.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.ids import OBJECT_FORMATS, ObjectFormat, ObjectId
from gtfs.ingest.candidate import Candidate, Views
from gtfs.ingest.examine import Examiner
from gtfs.ingest.faults import Finding
from gtfs.ingest.gate import PolicyGate
from gtfs.pack.format import CorruptPack
from gtfs.pack.limits import Limits
from gtfs.pack.scan import PackBytes
from gtfs.pack.trees import MissingObject, RawObject
from gtfs.repo.catfile import CatFile
from gtfs.repo.encoding import Find
from gtfs.repo.processes import cache_bytes, count_workers, run_on_workers
from gtfs.repo.repository import Repository
from gtfs.repo.work import Work

_RUN: Final = 256  # packs; they are looked at faster than made
_IN_PROCESS: Final = 256  # fewer packs than this are not worth a process


class PackPlace(NamedTuple):
    """Where a pack lies in the file."""

    oid: ObjectId
    offset: int
    length: int


class Foretold(NamedTuple):
    """What mirrors will find in one pack, or why none can take it."""

    findings: tuple[Finding, ...]
    bad: str | None


@dataclass(frozen=True)
class Foresight:
    """Looks at each pack as it is made, with objects of up to ``object_bytes`` to compare it with."""

    limits: Limits
    object_bytes: int

    def begin(self, fmt: ObjectFormat, find: Find, cached: int) -> Callable[[ObjectId, PackBytes], Foretold | None]:
        """What says of a pack what is foretold, None if that is nothing; it keeps ``cached`` bytes of trees."""
        examiner = _examiner(fmt, self.limits, cached)

        def lookup(oid: ObjectId, most: int) -> RawObject | None:
            return find(oid, min(most, self.object_bytes))

        def look(oid: ObjectId, pack: PackBytes) -> Foretold | None:
            try:
                findings = examiner.foresee(pack, oid, lookup)
            except CorruptPack as e:
                return Foretold((), str(e))
            return Foretold(findings, None) if findings else None

        return look


@dataclass
class LookedAt:
    """The packs of a file that were looked at as they were made, and what was said of some of them."""

    said: list[tuple[ObjectId, Foretold]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  # of runs of packs without a gap
    ends: list[int] = field(default_factory=list)

    def add(self, start: int, end: int) -> None:
        """A pack that lies behind all others."""
        if self.ends and self.ends[-1] == start:
            self.ends[-1] = end
        else:
            self.starts.append(start)
            self.ends.append(end)

    def has(self, offset: int) -> bool:
        """Whether the pack that begins there is among them."""
        at = bisect_right(self.starts, offset)
        return at > 0 and offset < self.ends[at - 1]


NOT_LOOKED_AT: Final = LookedAt()  # where none was


class Foreseen(NamedTuple):
    """What was found in a run of packs: by pack, as far as anything; and the first that no mirror can take, and why.

    What lies behind such a pack was not looked at.
    """

    packs: int
    size: int
    findings: list[tuple[ObjectId, tuple[Finding, ...]]]
    bad: tuple[ObjectId, str] | None


def foresee_many(
    repository: Repository,
    file: Path,
    places: Iterable[PackPlace],
    count: int,
    limits: Limits,
    object_bytes: int,
    work: Work,
) -> Iterator[Foreseen]:
    """Look at the packs at ``places`` of ``file``, with objects of up to ``object_bytes`` to compare them with.

    There are ``count`` of them, and they are asked for as they are looked at: there may be a million.
    It ends early when ``work`` is to stop.
    """
    workers = count_workers(work) if count > _IN_PROCESS else 1
    left = iter(places)
    runs = iter(lambda: list(islice(left, _RUN)), [])
    of_all = (repository.path, repository.fmt.name, file, limits, object_bytes, cache_bytes(workers))
    if workers > 1:
        calls = ((*of_all, run) for run in runs)
        yield from run_on_workers(_work, calls, workers, work, repository.layout.spool / "stop")
        return
    examiner = _Foreseer(*of_all)
    try:
        for run in runs:
            yield examiner.look_at(run, work.stop)
    finally:
        examiner.close()


class _Foreseer:
    def __init__(self, path: Path, fmt: str, file: Path, limits: Limits, object_bytes: int, cached: int) -> None:
        repository = Repository(path, OBJECT_FORMATS[fmt])
        self._file = file
        self._object_bytes = object_bytes
        self._reader = CatFile(repository, cached)
        self._views = Views(repository.state_directory)
        self._examiner = _examiner(repository.fmt, limits, cached)

    def look_at(self, run: Sequence[PackPlace], stop: Callable[[], bool]) -> Foreseen:
        packs = size = 0
        found: list[tuple[ObjectId, tuple[Finding, ...]]] = []
        for place in run:
            if stop():
                break
            pack = self._views.bytes_of(Candidate(place.oid, self._file, place.offset, place.length, None, True))
            try:
                findings = self._examiner.foresee(pack, place.oid, self._lookup)
            except CorruptPack as e:
                return Foreseen(packs, size, found, (place.oid, str(e)))
            packs += 1
            size += place.length
            if findings:
                found.append((place.oid, findings))
        return Foreseen(packs, size, found, None)

    def _lookup(self, oid: ObjectId, most: int) -> RawObject | None:
        try:
            return self._reader.read(oid, min(most, self._object_bytes))
        except MissingObject:
            return None

    def close(self) -> None:
        self._reader.close()
        self._views.__exit__(None, None, None)


def _examiner(fmt: ObjectFormat, limits: Limits, cached: int) -> Examiner:
    return Examiner(fmt, limits, PolicyGate(), cached)  # who vouches for a pack is not asked


@lru_cache(maxsize=1)
def _worker_foreseer(path: Path, fmt: str, file: Path, limits: Limits, object_bytes: int, cached: int) -> _Foreseer:
    """A worker's own, kept between its runs."""
    return _Foreseer(path, fmt, file, limits, object_bytes, cached)


def _work(
    path: Path, fmt: str, file: Path, limits: Limits, object_bytes: int, cached: int,
    run: Sequence[PackPlace], stop_file: Path,
) -> Foreseen:  # fmt: skip
    return _worker_foreseer(path, fmt, file, limits, object_bytes, cached).look_at(run, stop_file.exists)
