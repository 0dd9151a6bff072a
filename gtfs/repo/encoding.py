# SPDX-License-Identifier: GPL-3.0-or-later
"""Encodes many commits of one repository on several processes, into spool files (design.md §3).

A worker gets a run of neighbours in history, writes their packs one after the other into a spool file and says where
each stands; it ends early, at a whole pack, when told to stop. Runs in one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from gtfs.ids import OBJECT_FORMATS, ObjectId
from gtfs.pack.deflate import WrongSize
from gtfs.pack.encode import Encoder, PackStamp
from gtfs.pack.limits import Limits
from gtfs.pack.trees import Unencodable
from gtfs.repo.catfile import CatFile
from gtfs.repo.processes import cache_bytes, count_workers, run_on_workers
from gtfs.repo.repository import GitFailed, Repository
from gtfs.repo.work import UNWATCHED, Work

_RUN = 64  # commits a run: short enough for progress, long enough to keep the caches warm
_LONG_RUN = 256  # the same of a long history
_IN_PROCESS = 32  # fewer commits than this are not worth a process


class Unmade(NamedTuple):
    """A commit pack that could not be made, and why."""

    oid: ObjectId
    reason: str


class Run(NamedTuple):
    """What came of a run: stamps with their offset in ``spool``, and what could not be made."""

    spool: Path
    made: list[tuple[PackStamp, int]]
    unmade: list[Unmade]


def _encode_run(encoder: Encoder, oids: Sequence[ObjectId], spool: Path, stop: Callable[[], bool]) -> Run:
    made: list[tuple[PackStamp, int]] = []
    unmade = []
    encoder.begin(oids)
    with spool.open("wb") as out:
        at = 0
        for oid in oids:
            if stop():
                break
            try:
                stamp = encoder.encode(oid, out.write)
            except (Unencodable, GitFailed, WrongSize) as e:
                unmade.append(Unmade(oid, str(e)))
                out.seek(at)
                out.truncate()
                continue
            made.append((stamp, at))
            at += stamp.length
    return Run(spool, made, unmade)


@lru_cache(maxsize=1)
def _worker_encoder(path: Path, fmt: str, limits: Limits, cached: int) -> Encoder:
    """A worker's own encoder, kept between its runs for the sake of the caches in it."""
    repository = Repository(path, OBJECT_FORMATS[fmt])
    return Encoder(CatFile(repository, cached), repository.fmt, limits, cached)


def _work(
    path: Path, fmt: str, limits: Limits, cached: int, oids: Sequence[ObjectId], spool: Path, stop_file: Path
) -> Run:
    return _encode_run(_worker_encoder(path, fmt, limits, cached), oids, spool, stop_file.exists)


def encode_many(
    repository: Repository,
    oids: Sequence[ObjectId],
    spools: Path,
    limits: Limits,
    work: Work = UNWATCHED,
) -> Iterator[Run]:
    """Encode ``oids`` (history order is fastest) and yield runs in that order, each with its spool file in the
    directory ``spools``, which the caller deletes.

    What cannot be made, or is over a limit, is said of each and stops none of the others. When ``work`` is to stop,
    workers end at the commit at hand, and what they finished is still yielded; a caller who closes the iterator drops
    it.
    """
    spools.mkdir(mode=0o700, parents=True, exist_ok=True)
    workers = count_workers(work)
    if workers == 1 or len(oids) < _IN_PROCESS:
        yield from _in_process(repository, oids, spools, limits, work.stop)
        return
    of_all = (repository.path, repository.fmt.name, limits, cache_bytes(workers))
    size = _LONG_RUN if len(oids) > 16 * workers * _LONG_RUN else _RUN
    runs = ((*of_all, oids[at : at + size], spools / f"{at}.packs") for at in range(0, len(oids), size))
    yield from run_on_workers(_work, runs, workers, work, spools / "stop")


def _in_process(
    repository: Repository, oids: Sequence[ObjectId], spools: Path, limits: Limits, stop: Callable[[], bool]
) -> Iterator[Run]:
    cached = cache_bytes(1)
    with CatFile(repository, cached) as reader:
        encoder = Encoder(reader, repository.fmt, limits, cached)
        for number in range(0, len(oids), _RUN):
            if stop():
                return
            yield _encode_run(encoder, oids[number : number + _RUN], spools / f"{number}.packs", stop)
