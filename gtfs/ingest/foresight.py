# SPDX-License-Identifier: GPL-3.0-or-later
"""What mirrors will find in packs of one file of ours, by several processes and in the packs' order.

The steps are those of the way in, by the same `Examiner`. Runs in one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from gtfs.pack.trees import MissingObject
from gtfs.repo.catfile import CatFile
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
        self._examiner = _examiner(repository.fmt, limits)

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

    def _lookup(self, oid: ObjectId) -> tuple[int, bytes] | None:
        try:
            raw = self._reader.read(oid, self._object_bytes)
        except MissingObject:
            return None
        return None if raw.data is None else (raw.kind, raw.data)

    def close(self) -> None:
        self._reader.close()
        self._views.__exit__(None, None, None)


def _examiner(fmt: ObjectFormat, limits: Limits) -> Examiner:
    return Examiner(fmt, limits, PolicyGate())  # who vouches for a pack is not asked


@lru_cache(maxsize=1)
def _worker_foreseer(path: Path, fmt: str, file: Path, limits: Limits, object_bytes: int, cached: int) -> _Foreseer:
    """A worker's own, kept between its runs."""
    return _Foreseer(path, fmt, file, limits, object_bytes, cached)


def _work(
    path: Path, fmt: str, file: Path, limits: Limits, object_bytes: int, cached: int,
    run: Sequence[PackPlace], stop_file: Path,
) -> Foreseen:  # fmt: skip
    return _worker_foreseer(path, fmt, file, limits, object_bytes, cached).look_at(run, stop_file.exists)
