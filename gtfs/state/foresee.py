# SPDX-License-Identifier: GPL-3.0-or-later
"""What mirrors will say of packs that are about to be sealed, said to their publisher first.

The same steps as on the way in, by the same `Examiner` and the same table of faults. Synchronous, under the node's
lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import NamedTuple

from gtfs.durable import replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.ids import ObjectId
from gtfs.ingest.faults import FaultCounts, Finding, Severity
from gtfs.ingest.foresight import NOT_LOOKED_AT, Foresight, LookedAt, PackPlace, foresee_many
from gtfs.pack.limits import UNLIMITED
from gtfs.repo.catfile import CatFile
from gtfs.repo.work import UNWATCHED, Step, Work
from gtfs.state.faultpaths import FaultPaths
from gtfs.state.state import State

_ROWS = 2000  # asked from the index at once
_PATHS = 200  # objects whose path is looked for


class Unlisted(NamedTuple):
    """A fault that no mirror accepts yet, and the first commit or tag that brings it."""

    pack: ObjectId
    finding: Finding


class UnlistedFaults(GtfsError):
    """What is to be published has objects that every mirror would refuse; the text says how to accept them."""

    fault = Blame.SOURCE


class Unacceptable(GtfsError):
    """A pack that no mirror can let in, whatever the catalogue says."""

    fault = Blame.SOURCE


def foresee(
    state: State,
    wanted: Collection[ObjectId],
    accepted: Collection[ObjectId],
    work: Work = UNWATCHED,
    looked_at: LookedAt = NOT_LOOKED_AT,
) -> FaultCounts:
    """Look at the open reel's packs of ``wanted`` as mirrors will; gives what they will carry.

    Those that were ``looked_at`` by `foresight_of` are not looked at again.
    Raises `UnlistedFaults`, `Unacceptable`, OSError.
    """
    counts = FaultCounts()
    unlisted: dict[ObjectId, Unlisted] = {}
    allowed = frozenset(accepted)

    def take(pack: ObjectId, findings: tuple[Finding, ...]) -> None:
        for finding in findings:
            if finding.fault.severity is Severity.LISTED and finding.oid not in allowed:
                unlisted.setdefault(finding.oid, Unlisted(pack, finding))
        counts.add(findings)

    for oid, told in looked_at.said:
        if oid in wanted:
            if told.bad is not None:
                raise _unacceptable(oid, told.bad)
            take(oid, told.findings)
    count = sum(1 for _ in _places(state, wanted, looked_at))
    packs = size = 0
    file, way = state.layout.open_reel, foresight_of(state)
    places = _places(state, wanted, looked_at)
    for run in foresee_many(state.repository, file, places, count, way.limits, way.object_bytes, work):
        if run.bad is not None:
            raise _unacceptable(*run.bad)
        for pack, findings in run.findings:
            take(pack, findings)
        packs += run.packs
        size += run.size
        work.tell(Step(packs, count, size))
    if unlisted and not work.stop():
        _refuse(state, list(unlisted.values()))
    state.layout.unlisted_faults.unlink(missing_ok=True)
    return counts


def foresight_of(state: State) -> Foresight:
    """How packs are looked at that are about to be sealed."""
    # Of limits only those that no encoder holds packs to: the others were met, or `hold_back` has seen to it.
    limits = replace(UNLIMITED, tree_depth=state.limits.tree_depth, component_bytes=state.limits.component_bytes)
    return Foresight(limits, state.limits.object_bytes)


def _places(state: State, wanted: Collection[ObjectId], but: LookedAt) -> Iterator[PackPlace]:
    """Where the packs lie that will be sealed; read some at a time."""
    end = -1
    while packs := state.index.packs.sealable_after(end, _ROWS):
        end = packs[-1][1]
        for oid, offset, size, _, _ in packs:
            if oid in wanted and not but.has(offset):
                yield PackPlace(oid, offset, size)


def _unacceptable(pack: ObjectId, reason: str) -> Unacceptable:
    return Unacceptable(f"no mirror can take the pack of {pack.hex()}: {reason}")


def _refuse(state: State, unlisted: list[Unlisted]) -> None:
    repository = state.repository
    file = repository.layout.unlisted_faults
    lines = [f"{u.finding.oid.hex()} # {u.finding.text}; in {u.pack.hex()}" for u in unlisted]
    paths = _paths(state, unlisted[:_PATHS])
    for at, path in enumerate(paths):
        lines[at] += f" {path}"
    replace_file(file, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    pack, finding = unlisted[0]
    init = f"gtfs init {repository.path}"
    more, how = "", f"{init} --accept-fault {finding.oid.hex()}"
    if unlisted[1:]:
        more, how = f", and {len(unlisted) - 1} more", f"{init} --accept-faults {file}"
    raise UnlistedFaults(
        f"commit {pack.hex()}, path {paths[0]}, object {finding.oid.hex()}: {finding.text}{more}; "
        f"mirrors refuse what the catalogue does not list; list it with: {how}"
    )


def _paths(state: State, unlisted: list[Unlisted]) -> list[str]:
    """Where in its commit each object stands."""
    by_pack: dict[ObjectId, list[ObjectId]] = {}
    for one in unlisted:
        by_pack.setdefault(one.pack, []).append(one.finding.oid)
    with CatFile(state.repository) as reader:
        paths = FaultPaths(reader, state.repository.fmt)
        found = {pack: paths.find(pack, oids) for pack, oids in by_pack.items()}
    return [found[one.pack][one.finding.oid] for one in unlisted]
