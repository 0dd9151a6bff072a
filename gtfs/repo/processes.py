# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on runs of packs by several processes, whose results come in the order of the runs.

The processes are bounded together: each has its share of `ALL_BYTES`, and by default there are no more than have one
worth having. A run is given out when the results before it were taken, so that few wait. One thread, which owns its
processes; a run's function and arguments must be what a fresh process can import.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

from gtfs.pack.limits import MIB
from gtfs.repo.work import Work

T = TypeVar("T")

ALL_BYTES: Final = 384 * MIB  # of memory for all workers together, with the gits that they ask
_OWN_BYTES: Final = 40 * MIB  # of each: Python, what it has at hand, git
_CACHES: Final = 5  # of objects, of trees, of which were seen, of trees that passed, of git's bases
_CACHE_MIN: Final = 4 * MIB
_CACHE_MAX: Final = 16 * MIB  # more makes no difference for neighbours in history
_STOP_POLL_S: Final = 0.1
_AHEAD: Final = 6  # runs given out for each worker: results wait for one that takes long, others need not
_PR_SET_PDEATHSIG: Final = 1
_STANDARD_FILES: Final = 2  # the last of them
_COLLECTED: Final = 100_000  # objects


def count_workers(work: Work) -> int:
    """How many processes ``work`` shall have."""
    if work.jobs:
        return work.jobs
    return min(len(os.sched_getaffinity(0)), ALL_BYTES // (_OWN_BYTES + _CACHES * _CACHE_MIN))


def cache_bytes(workers: int) -> int:
    """How large each cache of one of so many processes may be."""
    share = (ALL_BYTES // workers - _OWN_BYTES) // _CACHES
    return max(_CACHE_MIN, min(share, _CACHE_MAX))


def collect_seldom() -> None:
    """Look for cycles seldom in this process, which ends soon and makes many objects and hardly a cycle."""
    gc.set_threshold(_COLLECTED)


def run_on_workers(
    function: Callable[..., T], runs: Iterable[tuple[Any, ...]], workers: int, work: Work, stop_file: Path
) -> Iterator[T]:
    """Call ``function`` with the arguments of each run, and then ``stop_file``; its results in their order.

    Once ``work`` is to stop, no run is begun, and the file is there: functions end early when they see it. A caller who
    closes the iterator drops what is not yielded.
    """
    stop_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stop_file.unlink(missing_ok=True)
    import multiprocessing  # here: it takes long to load, and most nodes never encode so much
    from concurrent.futures import ProcessPoolExecutor

    # A copy of this process has at hand what a fresh one takes 0.2 s to load; made beside other threads it may hang.
    way, shared = ("spawn", []) if _has_threads() else ("fork", _open_files())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context(way), _start_worker, (shared,))
    left = iter(runs)
    waiting: deque[Future[T]] = deque()
    try:
        while True:
            while len(waiting) < _AHEAD * workers and not work.stop() and (run := next(left, None)) is not None:
                waiting.append(pool.submit(function, *run, stop_file))
            if not waiting:
                return
            yield _finished(waiting.popleft(), work.stop, stop_file)
    finally:
        _ask_to_stop(stop_file)
        pool.shutdown(wait=True, cancel_futures=True)
        del pool
        _end_tracker()
        stop_file.unlink(missing_ok=True)


def _has_threads() -> bool:
    """Whether this process has more than one, whosever they are."""
    return sum(1 for _ in Path("/proc/self/task").iterdir()) > 1


def _open_files() -> list[int]:
    """The descriptors of this process but its standard ones."""
    listed = list(Path("/proc/self/fd").iterdir())
    # Also that of the listing, whose number another file will have.
    return [fd for file in listed if (fd := int(file.name)) > _STANDARD_FILES and file.is_symlink()]


def _start_worker(shared: Collection[int]) -> None:
    """``shared``: descriptors that the parent has, too, and alone shall have: another's pipe ends when all close it."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in shared:  # their numbers stay taken, as objects that nobody uses here have them
        os.dup2(nothing, fd, inheritable=False)
    os.close(nothing)
    # Ctrl-C reaches the whole process group; only the parent decides what to do about it.
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Without this a killed parent leaves workers waiting for ever on their queue.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    collect_seldom()
    gc.freeze()  # what the parent had is not looked through


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


def _finished(run: Future[T], stop: Callable[[], bool], stop_file: Path) -> T:
    while True:
        try:
            return run.result(timeout=_STOP_POLL_S)
        except TimeoutError:
            if stop():
                _ask_to_stop(stop_file)
