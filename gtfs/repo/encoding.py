# SPDX-License-Identifier: GPL-3.0-or-later
"""Encodes many commits of one repository on several processes, into spool files (design.md §3).

A worker gets a run of neighbours in history, writes their packs one after the other into a spool file and says where
each stands; it ends early, at a whole pack, when told to stop. Runs in one thread and owns its processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from gtfs.ids import OBJECT_FORMATS, ObjectId
from gtfs.pack.deflate import WrongSize
from gtfs.pack.encode import Encoder, PackStamp
from gtfs.pack.limits import Limits
from gtfs.pack.trees import Unencodable
from gtfs.repo.catfile import CatFile
from gtfs.repo.repository import GitFailed, Repository
from gtfs.repo.work import UNWATCHED, Work

_RUN = 64  # commits a run: short enough for progress, long enough to keep the caches warm
_IN_PROCESS = 32  # fewer commits than this are not worth a process
_STOP_POLL_S = 0.1
_PR_SET_PDEATHSIG = 1


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
def _worker_encoder(path: Path, fmt: str, limits: Limits) -> Encoder:
    """A worker's own encoder, kept between its runs for the sake of the caches in it."""
    repository = Repository(path, OBJECT_FORMATS[fmt])
    return Encoder(CatFile(repository), repository.fmt, limits)


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; only the parent decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Without this a killed parent leaves workers waiting for ever on their queue.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _work(path: Path, fmt: str, limits: Limits, oids: Sequence[ObjectId], spool: Path, stop_file: Path) -> Run:
    return _encode_run(_worker_encoder(path, fmt, limits), oids, spool, stop_file.exists)


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
    jobs, stop = work.jobs or len(os.sched_getaffinity(0)), work.stop
    if jobs == 1 or len(oids) < _IN_PROCESS:
        yield from _in_process(repository, oids, spools, limits, stop)
        return
    stop_file = spools / "stop"
    stop_file.unlink(missing_ok=True)
    import multiprocessing  # here: it takes long to load, and most nodes never encode so much
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker)
    runs = iter(range(0, len(oids), _RUN))
    waiting: deque[Future[Run]] = deque()
    try:
        while True:
            while len(waiting) < 2 * jobs and not stop() and (at := next(runs, None)) is not None:
                spool = spools / f"{at}.packs"
                run = oids[at : at + _RUN]
                place = (repository.path, repository.fmt.name)
                waiting.append(pool.submit(_work, *place, limits, run, spool, stop_file))
            if not waiting:
                return
            yield _finished(waiting.popleft(), stop, stop_file)
    finally:
        _ask_to_stop(stop_file)
        pool.shutdown(wait=True, cancel_futures=True)
        del pool
        _end_tracker()
        stop_file.unlink(missing_ok=True)


def _ask_to_stop(stop_file: Path) -> None:
    with contextlib.suppress(OSError):  # a full disk: then they end with the run at hand
        stop_file.touch()


def _end_tracker() -> None:
    """End the process that multiprocessing starts beside the workers and keeps for life.

    It holds this process's stdout and stderr: whoever reads from a pipe what `gtfs mount` says would wait until the
    node in the background ends. A process that multiprocessing itself started has its parent's.
    """
    import multiprocessing
    from multiprocessing import resource_tracker

    if multiprocessing.parent_process() is not None:
        return
    gc.collect()  # semaphores tell it of their end when they are collected
    stop = getattr(resource_tracker._resource_tracker, "_stop", None)
    if stop is not None:
        stop()


def _finished(run: Future[Run], stop: Callable[[], bool], stop_file: Path) -> Run:
    while True:
        try:
            return run.result(timeout=_STOP_POLL_S)
        except TimeoutError:
            if stop():
                _ask_to_stop(stop_file)


def _in_process(
    repository: Repository, oids: Sequence[ObjectId], spools: Path, limits: Limits, stop: Callable[[], bool]
) -> Iterator[Run]:
    with CatFile(repository) as reader:
        encoder = Encoder(reader, repository.fmt, limits)
        for number in range(0, len(oids), _RUN):
            if stop():
                return
            yield _encode_run(encoder, oids[number : number + _RUN], spools / f"{number}.packs", stop)
