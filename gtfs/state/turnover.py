# SPDX-License-Identifier: GPL-3.0-or-later
"""Reels over time: what a new catalogue lists is made from what the one before it listed, which then goes (§4).

Everything here follows from two catalogues, the held one and the one before it, and may be done again after a crash
at any point. A reel that is not listed any more is **retired** while the next catalogue holds: seeded for those who are
late. Then it is **superseded**: the swarm lets go of it, and its files and its row in the index go. Where the catalogue
is the first here after a pruning, what it does not list is **withdrawn**: nobody is given it any more, and it goes as
soon as no pack lies there (withdrawal.py). One thread, under the node's lock.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Collection, Mapping, Sequence

from gtfs.catalogue.document import Catalogue
from gtfs.counted import counted
from gtfs.ids import ObjectId
from gtfs.reel.compaction import ReelSize, adding_up, plan
from gtfs.reel.index import ReelConflict, ReelRow
from gtfs.reel.numbered import Numbered
from gtfs.reel.order import FINAL_REEL_BYTES
from gtfs.reel.seal import SealedReel
from gtfs.reel.table import Row, encode_table, reel_name, reel_size
from gtfs.state.reelfiles import ReelFiles, Table

log = logging.getLogger(__name__)

_ROWS = 2000  # asked from the index at once
_PRUNED = "pruned"  # in the index: the pruning after which reels that were never listed were let go of


def compact(reel_files: ReelFiles, held: Catalogue) -> list[SealedReel | ReelRow]:
    """The publisher's side: the reels of the held catalogue as the next one shall list them, the whole ones merged.

    One that is not whole here stays listed as long as packs lie there: mirrors may have it, and no other reel has
    these. Only what mirrors have heard of is merged, so that they can do the same. No pack has its place in a merged
    reel until `follow_catalogue`. Raises OSError.
    """
    live = [row for row in _rows(reel_files, held) if row.is_whole or reel_files.index.reels.holds(row.id)]
    found: list[SealedReel | ReelRow] = []
    for group in plan([row.size if row.is_whole else max(row.size, FINAL_REEL_BYTES) for row in live]):
        run = live[group.start : group.stop]
        merged = _merge(reel_files, run) if len(run) > 1 else None
        if merged is None:
            found += run
            continue
        reel_files.index.reels.put(merged.name, merged.infohash, merged.size, merged.rows, 0, "complete")
        log.info("%s merged into %s, %d bytes", counted(len(run), "reel"), merged.name, merged.size)
        found.append(merged)
    return found


def _merge(reel_files: ReelFiles, run: Sequence[ReelRow]) -> SealedReel | None:
    tables = [reel_files.table(row) for row in run]
    packs = [pack for table in tables if table is not None for pack in table.packs]
    # A pack that stands in two of them, which a damaged and rebuilt index may bring about, cannot stand twice in one.
    if None in tables or len({pack.oid for pack in packs}) < len(packs):
        return None
    return reel_files.make(packs)


def follow_catalogue(reel_files: ReelFiles, held: Catalogue, previous: Catalogue | None) -> list[ReelRow]:
    """Let index and disk follow the held catalogue; gives the superseded reels, for `drop`. Raises OSError.

    Of what was withdrawn, `withdrawal.withdraw` says when it is superseded.
    """
    index = reel_files.index
    with index.transaction():
        misstated = _put(reel_files, held)
        _leave_unlisted(reel_files, held)
    listed = _rows(reel_files, held)
    index.reels.set_stage([row.id for row in listed if row.stage == "retired"], "complete")
    ids = {row.id for row in listed}
    late = _named(previous) if _is_same_pruning(held, previous) else set()
    leaving = _leaving(reel_files, ids, _named(previous))
    if previous is not None:
        lacking = [row for row in listed if not row.is_whole and reel_files.table(row) is None]
        _make_merged(reel_files, lacking, _rows(reel_files, previous), held.date_s, leaving)
        if not _is_same_pruning(held, previous):
            lacking = [row for row in lacking if not reel_files.has_table(row)]
            _make_shorter(reel_files, lacking, _rows(reel_files, previous), held.date_s, leaving)
    _empty(reel_files, held, leaving)
    index.reels.set_stage([id_ for id_, row in leaving.items() if row.stage == "complete"], "retired")
    gone = {row.id for row in withdrawn(reel_files, held, previous)}
    return misstated + [
        row
        for id_, row in leaving.items()
        if id_ not in gone and not (row.is_whole and row.name in late) and not index.reels.holds(id_)
    ]


def _put(reel_files: ReelFiles, held: Catalogue) -> list[ReelRow]:
    """Know the reels that the catalogue lists; gives those that an earlier one listed with other numbers, of which
    nothing is here: `drop` puts these anew."""
    reels, misstated = reel_files.index.reels, []
    for e in held.reels:
        try:
            reels.put(e.name, e.infohash, e.size, e.rows, held.version, "remote")
        except ReelConflict as error:  # it fails alone: the catalogue is held, and no start may fail for it
            row = reels.by_name(e.name)
            assert row is not None
            if _is_misstated(reel_files, row, held):
                misstated.append(row)
            else:
                log.error("catalogue %d: %s; it stays as it is here", held.version, error)
    return misstated


def withdrawn(reel_files: ReelFiles, held: Catalogue | None, previous: Catalogue | None) -> list[ReelRow]:
    """The reels that nobody may be given any more, because a pruning left them out."""
    if held is None or held.pruned is None:
        return []
    late = _named(previous) if _is_same_pruning(held, previous) else set()
    leaving = _leaving(reel_files, {row.id for row in _rows(reel_files, held)}, _named(previous)).values()
    return [row for row in leaving if row.name not in late and (row.version or row.name in _named(previous))]


def _named(catalogue: Catalogue | None) -> set[str]:
    return set() if catalogue is None else {entry.name for entry in catalogue.reels}


def _is_same_pruning(held: Catalogue, previous: Catalogue | None) -> bool:
    """Whether nothing was left out between the two."""
    return previous is not None and previous.pruned == held.pruned


def _leave_unlisted(reel_files: ReelFiles, held: Catalogue) -> None:
    """What was sealed for a catalogue that was not signed, and is left out by one that prunes, is not to be listed."""
    index = reel_files.index
    if held.pruned is None or index.meta.get(_PRUNED) == str(held.pruned):
        return
    index.reels.set_version([row.id for row in index.reels.all() if not row.version], held.version)
    index.meta.set(_PRUNED, str(held.pruned))


def drop(reel_files: ReelFiles, superseded: Sequence[ReelRow], held: Catalogue | None) -> None:
    """Delete superseded reels, which the swarm must not have any more: first their files, then their rows.

    Those stay that the held catalogue lists again; what it lists with other numbers is known by these from then on.
    Before both, they are not whole any more: whoever reads one at that time (checkdue.py) sees why it is gone.
    """
    reels, names = reel_files.index.reels, _named(held)
    misstated = [row for row in superseded if row.name in names and _is_misstated(reel_files, row, held)]
    going = [row for row in superseded if row.name not in names] + misstated
    reels.set_stage([row.id for row in going], "partial")
    for row in going:
        reel_files.remove(row.name)
    with reel_files.index.transaction():
        reels.drop(row.name for row in going)
        if misstated and held is not None:
            _put(reel_files, held)


def _is_misstated(reel_files: ReelFiles, row: ReelRow, held: Catalogue | None) -> bool:
    """Whether a reel of which nothing is here has other numbers than it is listed with."""
    listed = {(e.name, e.infohash, e.size, e.rows) for e in held.reels} if held is not None else set()
    return row[1:5] not in listed and not row.is_whole and not reel_files.index.reels.holds(row.id)


def _rows(reel_files: ReelFiles, catalogue: Catalogue) -> list[ReelRow]:
    """The reels of a catalogue that the index knows, in its order."""
    by_name = {row.name: row for row in reel_files.index.reels.all()}
    return [by_name[entry.name] for entry in catalogue.reels if entry.name in by_name]


def _leaving(reel_files: ReelFiles, listed: Collection[int], before: Collection[str]) -> dict[int, ReelRow]:
    """The reels that are not listed any more. Those that never were are to be, unless nothing lies in them: they were
    merged for a catalogue that was not signed after all."""
    return {
        row.id: row
        for row in reel_files.index.reels.all()
        if row.id not in listed and (row.version or row.name in before or not reel_files.index.reels.holds(row.id))
    }


def _make_merged(
    reel_files: ReelFiles, lacking: Sequence[ReelRow], before: Sequence[ReelRow], time_s: int, leaving: Collection[int]
) -> None:
    """Make what the catalogue merged: whole if its parts are, else its table and what is here of it."""
    sizes = [ReelSize(row.size, row.rows) for row in before]
    for reel in lacking:
        for run in adding_up(sizes, ReelSize(reel.size, reel.rows)):
            tables = [reel_files.table(before[i]) for i in run]
            packs = [pack for table in tables if table is not None for pack in table.packs]
            if None not in tables and _make_of(reel_files, reel, packs, time_s, leaving):
                break


def _make_shorter(
    reel_files: ReelFiles, lacking: Sequence[ReelRow], before: Sequence[ReelRow], time_s: int, leaving: Collection[int]
) -> None:
    """Make what a pruning has left of a reel if that is how it began, as where one line of history was written anew
    from somewhere on; the table of any other is fetched."""
    for reel in lacking:
        for old in before:
            table = reel_files.table(old) if old.rows > reel.rows and old.size > reel.size else None
            if table is not None and _make_of(reel_files, reel, table.packs[: reel.rows], time_s, leaving):
                break


def _make_of(reel_files: ReelFiles, reel: ReelRow, packs: Sequence[Row], time_s: int, leaving: Collection[int]) -> bool:
    """Make a listed reel whole, else its table and what is here of it; False if these are not its packs."""
    if reel_name(encode_table(packs, reel_files.fmt)) != reel.name or reel_size(packs, reel_files.fmt) != reel.size:
        return False
    if not reel_files.make_listed(reel, packs, time_s):
        reel_files.keep_table(reel, packs, time_s)
        table = reel_files.table(reel)
        assert table is not None
        here = reel_files.fill(reel, table)
        reel_files.adopt(reel, table, leaving)
        log.info("reel %s is made from what is here of others: %d bytes", reel.name, here)
    return True


def _empty(reel_files: ReelFiles, held: Catalogue, leaving: Mapping[int, ReelRow]) -> None:
    """Move packs out of reels that leave, into the listed reels that have them; the newest are the likeliest."""
    holding = {id_ for id_ in leaving if reel_files.index.reels.holds(id_)}
    for reel in sorted(_rows(reel_files, held), key=lambda row: -row.version):
        if not holding:
            return
        table = reel_files.table(reel) if reel.is_whole else None
        if table is not None and reel_files.adopt(reel, table, holding):
            holding = {id_ for id_ in holding if reel_files.index.reels.holds(id_)}


def adopt_whole(reel_files: ReelFiles, held: Catalogue | None, reel: ReelRow) -> None:
    """Let packs have their place in a reel that is whole now, if they lie in the open reel or in one that leaves."""
    now = reel_files.index.reels.get(reel.id)
    if now is not None and reel_files.index.reels.holds_all(now):
        return  # as at every start, for all of history
    table = reel_files.table(now) if now is not None and now.name == reel.name and now.is_whole else None
    if now is None or table is None:
        return
    listed = set() if held is None else {row.id for row in _rows(reel_files, held)}
    if held is None or now.id in listed:
        reel_files.adopt(now, table, _leaving(reel_files, listed | {now.id}, ()))


class Guess:
    """The packs of reels whose tables are not here, if this is a clone that has their history (design.md §4).

    Where a publisher sealed in one go what the refs of his catalogue reach, a reel's packs are in canonical order,
    after those of the reels before it; the catalogue says how many. The name tells whether it is so.
    """

    def __init__(self, reel_files: ReelFiles, tips: Sequence[ObjectId]) -> None:
        self.reel_files = reel_files
        self._packs = packs = Numbered(reel_files.fmt.oid_bytes)
        rows, last = reel_files.index.packs, 0
        while some := rows.unpacked_after(last, _ROWS):
            for last, oid, time_s in some:
                packs.add(last, oid, time_s)
        for start in range(0, len(packs), _ROWS):
            part = packs.keys[start : start + _ROWS]
            packs.add_parents(rows.parents_between(part[0], part[-1]))
        # What the tips reach comes in the same order whether the rest is ordered with it or not.
        order = packs.order()
        reached = packs.reached(order, tips)
        self._order = array("I", (number for number in order if reached[number]))

    def packs(self, reel: ReelRow) -> list[Row] | None:
        """The next packs, if they are this reel's: then they are not tried again."""
        first = list(map(self._packs.oid, self._order[: reel.rows]))
        known = self.reel_files.index.packs.get_many(first)
        packs = [Row(oid, known[oid].size, known[oid].digest) for oid in first]  # type: ignore[arg-type]
        if len(packs) < reel.rows or reel_name(encode_table(packs, self.reel_files.fmt)) != reel.name:
            return None
        del self._order[: reel.rows]
        return packs

    def leave_out(self, table: Table) -> None:
        """Go on without the packs of a reel that is known."""
        known = {pack.oid for pack in table.packs}
        self._order = array("I", (number for number in self._order if self._packs.oid(number) not in known))
