# SPDX-License-Identifier: GPL-3.0-or-later
"""What the index says is here and is not any more: git's objects, and the files of reels.

Found by cheap looks, at start and before a sync; then let in or encoded again from what is left. What that does not
give is for the swarm.

Blocking; under the node's lock, in the thread that writes, but for what takes long of a reel for which somebody asks
(`Remaking`, `gives_again`). The swarm must not have the reels meanwhile, but for that.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from gtfs.durable import replace_file
from gtfs.ids import ObjectId
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.lost import absent, find_lost
from gtfs.ingest.takeup import parents_first
from gtfs.metainfo import build_metainfo
from gtfs.pack.limits import UNLIMITED
from gtfs.reel.index import ReelRow
from gtfs.reel.openreel import file_chunks
from gtfs.reel.seal import check_packs
from gtfs.reel.table import Row, encode_table, reel_name
from gtfs.repo.encoding import encode_many
from gtfs.repo.repository import Repository
from gtfs.repo.work import Work
from gtfs.state.reelfiles import Table
from gtfs.state.state import State
from gtfs.state.withdrawal import withdrawn_reels

log = logging.getLogger(__name__)


def look_at_git(state: State, stop: Callable[[], bool] = lambda: False) -> None:
    """Put rows back of which git has lost objects, and let in again what of them lies in the open reel."""
    index = state.index
    if state.config.sign_key() is not None:  # what its owner lets git throw away stays in the reels
        return
    find_lost(state.repository, index)
    if not index.packs.with_stage("verified", limit=1):
        return
    rows = {row.oid: row for row in index.packs.open_rows() if row.stage == "verified"}
    order = parents_first((oid, index.history.parents_of(oid)) for oid in rows)
    candidates = [
        Candidate(oid, state.layout.open_reel, rows[oid].offset or 0, rows[oid].size, None, is_ours=True)
        for oid in order
    ]
    outcome = state.ingest().run(candidates, stop=stop)
    for candidate, error in outcome.refused:
        log.error("%s, which git has lost, is refused: %s", candidate.oid.hex(), error)
        index.packs.set_stage([candidate.oid], "refused", str(error))


def short_reels(state: State) -> list[ReelRow]:
    """The reels that the index calls whole and whose files are not; looks at names and sizes only."""
    found = []
    gone = _withdrawn(state)
    for row in state.index.reels.all():
        if (
            row.id not in gone
            and row.is_whole
            and (_size(state.layout.reel(row.name)) != row.size or not _has_metainfo(state, row))
        ):
            found.append(row)
    return found


def _has_metainfo(state: State, row: ReelRow) -> bool:
    return state.layout.metainfo(row.name).is_file()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


class Remaking:
    """A reel that git gives again, written to where it was, in three steps, of which only the second one takes long.

    The swarm may have it: what it knows to be here stays as it is. `begin` and `place` are for the thread that writes;
    `encode` is for any, and what it does counts for nothing before `place`, which sees whether the reel is still to be
    had. All raise OSError.
    """

    def __init__(self, state: State, reel: ReelRow, spools: Path) -> None:
        self._state = state
        self._reel = reel
        self._spools = spools
        self._table: Table | None = None
        self._metainfo: bytes | None = None  # once all of it is there

    def begin(self) -> bool:
        """Whether the index still has it, and its table is known."""
        state, reel = self._state, self._reel
        if not self._is_still_wanted():
            return False
        state.layout.resume(reel.name).unlink(missing_ok=True)  # it says what was here
        reel_files = state.reel_files
        self._table = (
            reel_files.table(reel._replace(stage="partial")) or _table_by_rows(state, reel) or reel_files.table(reel)
        )
        return self._table is not None

    def encode(self, stop: Callable[[], bool]) -> None:
        """Write what git has of it to its place in the file."""
        reel, path = self._reel, self._state.layout.reel(self._reel.name)
        assert self._table is not None
        encode_into(self._state, reel, self._table, stop, self._spools)
        if _size(path) == reel.size:
            metainfo, infohash = build_metainfo(path)
            self._metainfo = metainfo if infohash == reel.infohash else None

    def place(self) -> bool:
        """Call it whole if it is, and is still wanted; of what is not, nothing stays."""
        state, name = self._state, self._reel.name
        if not self._is_still_wanted():
            if state.index.reels.by_name(name) is None:
                state.reel_files.remove(name)
            return False
        if self._metainfo is None:
            return False
        replace_file(state.layout.metainfo(name), self._metainfo)
        state.index.reels.set_stage([self._reel.id], "complete")
        return True

    def _is_still_wanted(self) -> bool:
        now = self._state.index.reels.get(self._reel.id)
        return now is not None and now.name == self._reel.name and now.id not in _withdrawn(self._state)


def _withdrawn(state: State) -> set[int]:
    return {row.id for row in withdrawn_reels(state)}


def remake(state: State, reel: ReelRow, stop: Callable[[], bool] = lambda: False) -> bool:
    """Write what git has of a reel that was whole and is called partial by now; call it whole if that was all.

    Nobody may believe the file meanwhile: what was not written yet is a hole. Raises OSError.
    """
    remaking = Remaking(state, reel, state.layout.spool)
    if not remaking.begin():
        return False
    remaking.encode(stop)
    return remaking.place()


def gives_again(state: State, row: ReelRow, stop: Callable[[], bool] = lambda: False) -> bool:
    """Whether git gives each pack of a reel as its table has it; nothing of what is encoded is kept. Raises OSError.

    Beside all else that writes.
    """
    table = state.reel_files.table(row)
    if table is None or absent(state.repository, [pack.oid for pack in table.packs]):
        return False
    left = {pack.oid: pack.digest for pack in table.packs}
    others: set[ObjectId] = set()  # in other bytes, or not at all
    work = Work(stop=lambda: stop() or bool(others))
    for run in encode_many(state.repository, list(left), state.layout.spool_beside, UNLIMITED, work):
        run.spool.unlink()
        others.update(unmade.oid for unmade in run.unmade)
        others.update(stamp.oid for stamp, _ in run.made if left.pop(stamp.oid) != stamp.digest)
    return not left and not others


def _table_by_rows(state: State, reel: ReelRow) -> Table | None:
    """The table as the index has it, if all packs of the reel have their place in it."""
    packs = [Row(r.oid, r.size, r.digest) for r in state.index.packs.reel_rows(reel.id) if r.digest is not None]
    if reel_name(encode_table(packs, state.repository.fmt)) != reel.name:
        return None
    state.reel_files.keep_table(reel, packs, 0)
    return state.reel_files.table(reel)


def encode_into(
    state: State, reel: ReelRow, table: Table, stop: Callable[[], bool] = lambda: False, spools: Path | None = None
) -> int:
    """Write packs that git has, and the reel's file has not, to their offsets, and the reel's end; gives their bytes.

    ``spools``: see `encode_many`, the state's own if None. Raises OSError.
    """
    repository = state.repository
    missing = set(absent(repository, [pack.oid for pack in table.packs]))
    if len(missing) == len(table.packs):
        return 0
    path = state.layout.reel(reel.name)
    wanted = {p.oid: (p, at) for p, at in zip(table.packs, table.offsets, strict=True) if p.oid not in missing}
    if _size(path) is not None:
        for check in check_packs(path, list(wanted.values())):
            if check.good:
                del wanted[check.oid]
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, reel.size)
        made = _write_packs(state.repository, fd, wanted, stop, spools or state.layout.spool)
        os.pwrite(fd, table.end, reel.size - len(table.end))
        os.fsync(fd)
    finally:
        os.close(fd)
    return made


def _write_packs(
    repository: Repository, fd: int, wanted: dict[ObjectId, tuple[Row, int]], stop: Callable[[], bool], spools: Path
) -> int:
    made = 0
    oids: Sequence[ObjectId] = list(wanted)
    for run in encode_many(repository, oids, spools, UNLIMITED, Work(stop=stop)):
        for stamp, offset in run.made:
            pack, at = wanted[stamp.oid]
            if stamp.digest != pack.digest:
                continue  # not as its publisher made it
            for chunk in file_chunks(run.spool, offset, stamp.length)():
                at += os.pwrite(fd, chunk, at)
            made += stamp.length
        run.spool.unlink()
    return made
