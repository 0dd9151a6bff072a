# SPDX-License-Identifier: GPL-3.0-or-later
"""What the index says is here and is not any more: git's objects, and the files of reels.

Found by cheap looks, at start and before a sync; then let in or encoded again from what is left. What that does not
give is for the swarm.

Blocking; under the node's lock, in the thread that writes. The swarm must not have the reels meanwhile.
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
from gtfs.repo.known import has_any_object
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
    gone = {row.id for row in withdrawn_reels(state)}
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


def remake(state: State, reel: ReelRow, stop: Callable[[], bool] = lambda: False) -> bool:
    """Write what git has of a reel that was whole and is called partial by now; call it whole if that was all.

    Nobody may believe the file meanwhile: what was not written yet is a hole.
    """
    reel_files, index = state.reel_files, state.index
    state.layout.resume(reel.name).unlink(missing_ok=True)  # it says what was here
    table = reel_files.table(reel._replace(stage="partial")) or _table_by_rows(state, reel) or reel_files.table(reel)
    if table is None:
        return False
    encode_into(state, reel, table, stop)
    path = state.layout.reel(reel.name)
    if _size(path) != reel.size:
        return False
    metainfo, infohash = build_metainfo(path)
    if infohash != reel.infohash:
        return False
    replace_file(state.layout.metainfo(reel.name), metainfo)
    index.reels.set_stage([reel.id], "complete")
    return True


def encode_again(state: State, row: ReelRow, stop: Callable[[], bool] = lambda: False) -> bool:
    """Make a reel whole that was let go of, if the index still has it so; see `remake`.

    The swarm may have it: what it knows to be here stays as it is. Raises OSError.
    """
    now = state.index.reels.get(row.id)
    if now is None or now.name != row.name:
        return False
    return now.is_whole or remake(state, now, stop)


def gives_again(state: State, row: ReelRow, stop: Callable[[], bool] = lambda: False) -> bool:
    """Whether git gives each pack of a reel as its table has it; nothing of what is encoded is kept. Raises OSError."""
    table = state.reel_files.table(row)
    if table is None or absent(state.repository, [pack.oid for pack in table.packs]):
        return False
    left = {pack.oid: pack.digest for pack in table.packs}
    others: set[ObjectId] = set()  # in other bytes, or not at all
    work = Work(stop=lambda: stop() or bool(others))
    for run in encode_many(state.repository, list(left), state.layout.spool, UNLIMITED, work):
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


def encode_into(state: State, reel: ReelRow, table: Table, stop: Callable[[], bool] = lambda: False) -> int:
    """Write packs that git has, and the reel's file has not, to their offsets, and the reel's end; gives their bytes.

    Raises OSError.
    """
    repository = state.repository
    if not has_any_object(repository):
        return 0  # a new mirror
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
        made = _write_packs(state, fd, wanted, stop)
        os.pwrite(fd, table.end, reel.size - len(table.end))
        os.fsync(fd)
    finally:
        os.close(fd)
    return made


def _write_packs(state: State, fd: int, wanted: dict[ObjectId, tuple[Row, int]], stop: Callable[[], bool]) -> int:
    made = 0
    oids: Sequence[ObjectId] = list(wanted)
    for run in encode_many(state.repository, oids, state.layout.spool, UNLIMITED, Work(stop=stop)):
        for stamp, offset in run.made:
            pack, at = wanted[stamp.oid]
            if stamp.digest != pack.digest:
                continue  # not as its publisher made it
            for chunk in file_chunks(run.spool, offset, stamp.length)():
                at += os.pwrite(fd, chunk, at)
            made += stamp.length
        run.spool.unlink()
    return made
