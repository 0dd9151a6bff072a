# SPDX-License-Identifier: GPL-3.0-or-later
"""Encodes many commits of one repository on several processes, into spool files (design.md §3).

A worker gets a run of neighbours in history, writes their packs one after the other into a spool file and says where
each stands; it ends early, at a whole pack, when told to stop. A pack can be looked at where it was made, while all
that it stands on is at hand. Runs in one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol

from gtfs.ids import OBJECT_FORMATS, ObjectFormat, ObjectId
from gtfs.pack.deflate import WrongSize
from gtfs.pack.encode import Encoder, PackStamp
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.scan import PackBytes
from gtfs.pack.trees import RawObject, Unencodable
from gtfs.repo.catfile import CatFile
from gtfs.repo.processes import cache_bytes, count_workers, run_on_workers
from gtfs.repo.repository import GitFailed, Repository
from gtfs.repo.work import UNWATCHED, Work

_RUN = 64  # commits a run: short enough for progress, long enough to keep the caches warm
_LONG_RUN = 256  # the same of a long history, but at its end, where workers wait for the last one
_LAST_RUNS: Final = 4  # of each worker are short
_IN_PROCESS = 32  # fewer commits than this are not worth a process
_KEPT_BYTES: Final = 8 * MIB  # of a pack that will be looked at; a longer one is mapped

Find = Callable[[ObjectId, int], RawObject | None]  # see `Encoder.find`
Look = Callable[[ObjectId, PackBytes], Any]


class Unmade(NamedTuple):
    """A commit pack that could not be made, and why.

    ``signal``: by which git was ended from outside meanwhile, so that nothing is known of the pack; else 0.
    """

    oid: ObjectId
    reason: str
    signal: int = 0


class Run(NamedTuple):
    """What came of a run: stamps with their offset in ``spool``, and what could not be made.

    ``said``: what was said of packs, where they were looked at and it was anything.
    """

    spool: Path
    made: list[tuple[PackStamp, int]]
    unmade: list[Unmade]
    said: list[tuple[ObjectId, Any]]


class Inspection(Protocol):
    """How to look at each pack once it is made; hashable, and what a fresh process can be given."""

    def begin(self, fmt: ObjectFormat, find: Find, cached: int) -> Look: ...

    def __hash__(self) -> int: ...


class _Copy:
    """Writes a pack into the spool, and has its bytes to be looked at."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._parts: list[bytes] = []
        self._length = 0

    def write(self, piece: bytes) -> None:
        self._out.write(piece)
        self._length += len(piece)
        if self._length > _KEPT_BYTES:
            self._parts.clear()
        else:
            self._parts.append(piece)

    def bytes(self) -> PackBytes:
        if self._length <= _KEPT_BYTES:
            return b"".join(self._parts)
        self._out.flush()
        end = self._out.tell()
        return memoryview(mmap(self._out.fileno(), end, access=ACCESS_READ))[end - self._length :]


class _Maker(NamedTuple):
    """What makes packs, and looks at them."""

    encoder: Encoder
    look: Look | None


def _maker(repository: Repository, reader: CatFile, limits: Limits, cached: int, way: Inspection | None) -> _Maker:
    encoder = Encoder(reader, repository.fmt, limits, cached)
    return _Maker(encoder, None if way is None else way.begin(repository.fmt, encoder.find, cached))


def _encode_run(maker: _Maker, oids: Sequence[ObjectId], spool: Path, stop: Callable[[], bool]) -> Run:
    run = Run(spool, [], [], [])
    encoder, look = maker
    encoder.begin(oids)
    with spool.open("w+b") as out:
        at = 0
        for oid in oids:
            if stop():
                break
            copy = None if look is None else _Copy(out)
            try:
                stamp = encoder.encode(oid, out.write if copy is None else copy.write)
            except (Unencodable, GitFailed, WrongSize) as e:
                run.unmade.append(Unmade(oid, str(e), -e.status if isinstance(e, GitFailed) and e.was_killed else 0))
                out.seek(at)
                out.truncate()
                continue
            if look is not None and copy is not None and (said := look(oid, copy.bytes())) is not None:
                run.said.append((oid, said))
            run.made.append((stamp, at))
            at += stamp.length
    return run


@lru_cache(maxsize=1)
def _worker_maker(path: Path, fmt: str, limits: Limits, cached: int, way: Inspection | None) -> _Maker:
    """A worker's own encoder, kept between its runs for the sake of the caches in it."""
    repository = Repository(path, OBJECT_FORMATS[fmt])
    return _maker(repository, CatFile(repository, cached), limits, cached, way)


def _work(
    path: Path, fmt: str, limits: Limits, cached: int, way: Inspection | None,
    oids: Sequence[ObjectId], spool: Path, stop_file: Path,
) -> Run:  # fmt: skip
    return _encode_run(_worker_maker(path, fmt, limits, cached, way), oids, spool, stop_file.exists)


def encode_many(
    repository: Repository,
    oids: Sequence[ObjectId],
    spools: Path,
    limits: Limits,
    work: Work = UNWATCHED,
    way: Inspection | None = None,
) -> Iterator[Run]:
    """Encode ``oids`` (history order is fastest) and yield runs in that order, each with its spool file in the
    directory ``spools``, which the caller deletes.

    What cannot be made, or is over a limit, is said of each and stops none of the others. When ``work`` is to stop,
    workers end at the commit at hand, and what they finished is still yielded; a caller who closes the iterator drops
    it. ``way``: how each pack is looked at.
    """
    spools.mkdir(mode=0o700, parents=True, exist_ok=True)
    workers = count_workers(work)
    if workers == 1 or len(oids) < _IN_PROCESS:
        yield from _in_process(repository, oids, spools, limits, work.stop, way)
        return
    of_all = (repository.path, repository.fmt.name, limits, cache_bytes(workers), way)
    long = len(oids) - _LAST_RUNS * workers * _RUN if len(oids) > 16 * workers * _LONG_RUN else 0
    starts = [*range(0, long, _LONG_RUN), *range(long, len(oids), _RUN), len(oids)]
    runs = ((*of_all, oids[at:end], spools / f"{at}.packs") for at, end in pairwise(starts))
    yield from run_on_workers(_work, runs, workers, work, spools / "stop")


def _in_process(
    repository: Repository,
    oids: Sequence[ObjectId],
    spools: Path,
    limits: Limits,
    stop: Callable[[], bool],
    way: Inspection | None,
) -> Iterator[Run]:
    cached = cache_bytes(1)
    with CatFile(repository, cached) as reader:
        maker = _maker(repository, reader, limits, cached, way)
        for number in range(0, len(oids), _RUN):
            if stop():
                return
            yield _encode_run(maker, oids[number : number + _RUN], spools / f"{number}.packs", stop)
