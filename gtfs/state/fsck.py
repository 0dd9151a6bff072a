# SPDX-License-Identifier: GPL-3.0-or-later
"""What `gtfs fsck` looks at: files against index, index against git, and the catalogue; and the index made anew.

Reads everything that is local, mends nothing but on `rebuild`. Synchronous, under the node's lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from gtfs.catalogue.store import CatalogueStore
from gtfs.durable import sync_directory, sync_file, temporary_in
from gtfs.ids import ObjectId
from gtfs.ingest.examine import first_names
from gtfs.ingest.lost import doubt, missing_objects
from gtfs.metainfo import build_metainfo
from gtfs.pack.limits import MIB
from gtfs.pack.objects import read_made_s
from gtfs.pack.scan import scan
from gtfs.reel.index import Index, IndexUnusable, PackRow, ReelRow
from gtfs.reel.recover import (
    DB_SUFFIXES,
    Described,
    Listed,
    Rebuilt,
    rebuild_index,
    set_aside,
    verify_open_reel,
)
from gtfs.reel.seal import read_reel, verify_reel
from gtfs.reel.table import CorruptReel
from gtfs.repo.history import read_refs
from gtfs.repo.known import KnownObjects
from gtfs.repo.repository import Repository
from gtfs.state.completeness import check_packs_complete
from gtfs.state.config import Config
from gtfs.state.freshness import is_stale
from gtfs.state.rebuild import restore_held_refs
from gtfs.state.reelfiles import ReelFiles
from gtfs.state.state import State

_PAGE = 1000
_NAMED = 20  # lost objects; of more, only the number is told

Progress = Callable[[int, int], None]  # bytes read and to be read


def check(state: State, progress: Progress) -> Iterator[str]:
    """One line for each thing that is not as it should be; nothing when all is well."""
    yield from state.index.check()
    reels = [r for r in state.index.reels.all() if r.is_whole]
    open_rows = state.index.packs.open_rows()
    packs = sum(row.size for reel in reels for row in state.index.packs.reel_rows(reel.id)) + sum(
        r.size for r in open_rows
    )
    total = sum(r.size for r in reels) + sum(row.size for row in open_rows) + packs
    done = 0
    damaged: set[ObjectId] = set()
    for reel in reels:
        yield from check_reel(state, reel, damaged)
        done += reel.size
        progress(done, total)
    if open_rows:
        for pack in verify_open_reel(state.layout.open_reel, open_rows):
            if not pack.good:
                damaged.add(pack.oid)
                yield f"open reel: the pack of {pack.oid.hex()} at {pack.offset} is damaged"
    yield from _check_git(state)
    looked_at = [total - packs]

    def look(size: int) -> None:
        looked_at[0] += size
        progress(looked_at[0], total)

    yield from check_packs_complete(state, damaged, look)
    progress(total, total)
    yield from _check_catalogue(state)
    for name in state.layout.reel_names():
        if state.index.reels.by_name(name) is None:
            yield f"{state.layout.reel(name).name}: the index does not know this reel; run gtfs fsck --rebuild"


def check_reel(state: State, reel: ReelRow, damaged: set[ObjectId]) -> Iterator[str]:
    """One line for each thing that is wrong with a whole reel's file; ``damaged`` gets the packs that it concerns."""
    path = state.layout.reel(reel.name)
    try:
        foot, _ = read_reel(path, state.repository.fmt)
        if (foot.name, foot.rows, path.stat().st_size) != (reel.name, reel.rows, reel.size):
            yield f"reel {reel.name}: the file is another reel than the index says"
            return
        for pack in verify_reel(path, state.repository.fmt):
            # What was refused for this is no damage: its publisher wrote the reel so, see notes.
            if not pack.good:
                damaged.add(pack.oid)
            if not pack.good and ((row := state.index.packs.get(pack.oid)) is None or row.stage != "refused"):
                yield f"reel {reel.name}: the pack of {pack.oid.hex()} at {pack.offset} is damaged"
        if build_metainfo(path)[1] != reel.infohash:
            yield f"reel {reel.name}: its bytes do not give the infohash {reel.infohash.hex()}"
    except CorruptReel as e:
        yield f"reel {reel.name}: {e.reason}"
    except OSError as e:
        yield f"reel {reel.name}: {e.strerror}"


def _check_git(state: State) -> Iterator[str]:
    """Unpacked means that git has it; refs stand where they were put, and git has all that they reach."""
    with KnownObjects(state.repository) as known:
        after = 0
        while rows := state.index.packs.rows_after(after, _PAGE):
            after = rows[-1].row
            if state.config.sign_key() is None:  # what a publisher's owner lets git throw away stays in the reels
                yield from (_lost(row) for row in rows if row.stage == "unpacked" and row.oid not in known)
        refs = {r.name: r.oid for r in read_refs(state.repository)}
        for name, oid in state.index.refs.held().items():
            if name not in refs and state.config.sign_key() is None and not state.config.is_clone():
                yield f"{name.decode('utf-8', 'replace')} is gone; it should be at {oid.hex()}"
        lost = {oid for oid in refs.values() if oid not in known}
        for name, oid in refs.items():
            if oid in lost:
                yield f"{name.decode('utf-8', 'replace')} points to {oid.hex()}, which is missing"
    yield from _check_history(state, [oid for oid in refs.values() if oid not in lost])


def _check_history(state: State, tips: list[ObjectId]) -> Iterator[str]:
    """Nothing below the refs is missing; where something is, the next sync is to look at all of it."""
    found = 0
    for oid in missing_objects(state.repository, tips):
        found += 1
        if found <= _NAMED:
            yield "git cannot read the history of its refs" if oid is None else f"git has lost the object {oid.hex()}"
    if found > _NAMED:
        yield f"git has lost {found - _NAMED} more objects"
    if found and not state.index.read_only:
        doubt(state.index)


def _lost(row: PackRow) -> str:
    return f"{row.oid.hex()} is unpacked by the index and missing in git"


def _check_catalogue(state: State) -> Iterator[str]:
    held = state.held
    if held is None:
        return
    for entry in held.catalogue.reels:
        row = state.index.reels.by_name(entry.name)
        if row is None:
            yield f"reel {entry.name} of the catalogue is not in the index; run gtfs fsck --rebuild"
        elif (row.infohash, row.size, row.rows) != (entry.infohash, entry.size, entry.rows):
            yield f"reel {entry.name} is another in the catalogue than in the index"
    if state.catalogues.is_disputed(held):
        yield f"the publisher signed two different catalogues of version {held.catalogue.version}"


def notes(state: State) -> Iterator[str]:
    """What is worth a word and no fault."""
    if state.read_only:
        yield f"{state.repository.state_directory} is read-only: what a crash may have left stays"
    if is_stale(state):
        yield "the catalogue is past its Valid-Until: refs do not move"
    refused = state.quarantine.refused()
    if refused:
        yield f"{len(refused)} refused files are in {state.quarantine.directory}"
    lies = state.index.packs.count_by_stage().get("refused", 0)
    if lies:
        yield f"{lies} packs of the catalogue's reels are refused; gtfs sync says why"
    waiting = [p for p in state.layout.incoming.iterdir() if p.is_file()]
    if waiting:
        yield f"{len(waiting)} written files are not taken over yet, in {state.layout.incoming}"


def rebuild(repository: Repository, listed: dict[str, Listed], progress: Callable[[int], None]) -> Rebuilt:
    """Make the index anew from reels, open reel and catalogue; the one before is kept as ``node.db.old``.

    It takes its place once it is whole: until then, and after an error or a crash, the one before is the index. The
    caller holds the lock and no `State`. What those files do not tell, gtfs(1) lists under ``--rebuild``. Raises
    `GitFailed`, `IndexUnusable`, OSError.
    """
    layout = repository.layout
    fd, making = temporary_in(layout.root)
    os.close(fd)
    try:
        with Index(making) as index:
            rebuilt = _fill(repository, index, listed, progress)
        if any(path.exists() and path.stat().st_size for path in _beside(making)):  # as where the disk is full
            raise IndexUnusable(making, "not all of it could be written into one file")
        sync_file(making)
        set_aside(layout.index)
        making.rename(layout.index)
        sync_directory(layout.root)
        return rebuilt
    finally:
        for path in (making, *_beside(making)):
            path.unlink(missing_ok=True)


def _beside(database: Path) -> list[Path]:
    return [database.with_name(database.name + suffix) for suffix in DB_SUFFIXES if suffix]


def _fill(repository: Repository, index: Index, listed: dict[str, Listed], progress: Callable[[int], None]) -> Rebuilt:
    layout = repository.layout
    limits = Config(repository).limits()
    with KnownObjects(repository) as known:

        def describe(pack: memoryview) -> Described:
            found = scan(pack, repository.fmt, limits, keep=MIB)
            oid, kind, parents, raw = first_names(pack, found, repository.fmt)
            index.needs.put({oid: found.needs})
            return Described(oid, kind, read_made_s(raw) or 0, parents, "unpacked" if _has(oid) else "remote")

        def _has(oid: ObjectId) -> bool:
            return oid in known

        def length(pack: memoryview) -> int:
            return scan(pack, repository.fmt, limits, prefix=True).length

        rebuilt = rebuild_index(
            index, layout.reels, _existing(layout.open_reel), repository.fmt, length, describe,
            listed, progress,  # type: ignore[arg-type]
        )  # fmt: skip
    restore_held_refs(repository, index, CatalogueStore(layout.catalogue))
    _use_kept_tables(repository, index)
    # Of the open reel, nothing is fetched: what git lacks of it is let in from there.
    index.packs.set_stage([row.oid for row in index.packs.open_rows() if row.stage == "remote"], "verified")
    doubt(index)
    return rebuilt._replace(packs=index.packs.count())


def _use_kept_tables(repository: Repository, index: Index) -> None:
    """Know the packs of reels whose end is gone by the tables that were kept beside them."""
    reel_files = ReelFiles(index, repository.layout, repository.fmt)
    for reel in index.reels.all():
        table = None if reel.is_whole else reel_files.table(reel)
        if table is not None:
            reel_files.keep_table(reel, table.packs, 0)


def _existing(path: Path) -> Path:
    path.touch(mode=0o600)
    return path
