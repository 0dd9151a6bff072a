# SPDX-License-Identifier: GPL-3.0-or-later
"""What a publish would do now, from refs and index alone: nothing is encoded, sealed, signed or written. Any thread."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from gtfs.ingest.refjudge import moves_back
from gtfs.repo.history import Ref
from gtfs.state.announce import foretell_announcements
from gtfs.state.pruning import plan_pruning
from gtfs.state.publish import check_publisher, unlisted
from gtfs.state.sealing import packs_behind, wanted_packs
from gtfs.state.selection import describe_left_out
from gtfs.state.signers import needed_roles
from gtfs.state.state import State
from gtfs.state.unpublishable import check_fits

_ROWS: Final = 2000  # asked from the index at once


def foretell(state: State, *, prune: bool = False) -> dict[str, Any]:
    """As ``gtfs publish --dry-run`` shows it; raises `Unpublishable`, `BadConfig`, `GitFailed`, `CannotPrune`."""
    check_publisher(state)
    selection = state.refs()
    check_fits(state.repository, selection.chosen, in_chunks=state.config.in_chunks_above() is not None)
    before = {} if state.held is None else state.held.catalogue.refs
    now = {ref.name: ref.oid for ref in selection.chosen} | {name: before[name] for name in selection.broken}
    policy = state.config.policies()
    back = set(moves_back(state.repository, before, now, policy)) if before else set()
    return {
        "version": 1 if state.held is None else state.held.catalogue.version + 1,
        "signer": " and ".join(map(str, needed_roles(state))),
        "new_packs": _count_new(state, selection.chosen),
        "refs": [
            {
                "ref": name.decode("utf-8", "replace"),
                "from": before[name].hex() if name in before else None,
                "to": now[name].hex() if name in now else None,
                "back": name in back,
            }
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        ],
        "announcements": foretell_announcements(state.repository, state.config, before, now),
        "refs_left_out": describe_left_out(selection.left_out, state.held),
        "withdrawn": plan_pruning(state, now).describe() if prune else None,
    }


def _count_new(state: State, refs: list[Ref]) -> int:
    """How many packs would be in reels that were in no catalogue, or in none that was not set aside."""
    wanted = wanted_packs(state, refs)
    back = {pack.oid for _, packs in packs_behind(state, wanted) for pack in packs}
    fresh = {reel.id for reel in unlisted(state)}
    count, left = 0, iter(wanted)
    while oids := list(islice(left, _ROWS)):
        rows = state.index.packs.get_many(oids)
        placed = [row for row in rows.values() if row.reel is not None]
        count += len(oids) - sum(row.reel not in fresh and row.oid not in back for row in placed)
    return count
