# SPDX-License-Identifier: GPL-3.0-or-later
"""What a publish would do now, from refs and index alone: nothing is encoded, sealed, signed or written. Any thread."""

from __future__ import annotations

from typing import Any

from gtfs.ingest.refjudge import moves_back
from gtfs.state.announce import foretell_announcements
from gtfs.state.pruning import plan_pruning
from gtfs.state.publish import check_publisher
from gtfs.state.sealing import reached
from gtfs.state.selection import describe_left_out
from gtfs.state.signers import needed_roles
from gtfs.state.state import State
from gtfs.state.unpublishable import check_fits


def foretell(state: State, *, prune: bool = False) -> dict[str, Any]:
    """As ``gtfs publish --dry-run`` shows it; raises `Unpublishable`, `BadConfig`, `GitFailed`, `CannotPrune`."""
    check_publisher(state)
    selection = state.refs()
    check_fits(state.repository, selection.chosen, in_chunks=state.config.in_chunks_above() is not None)
    before = {} if state.held is None else state.held.catalogue.refs
    now = {ref.name: ref.oid for ref in selection.chosen} | {name: before[name] for name in selection.broken}
    policy = state.config.policies()
    back = set(moves_back(state.repository, before, now, policy)) if before else set()
    listed = set(before.values())
    new = reached(state, [ref for ref in selection.chosen if ref.oid not in listed], listed)
    return {
        "version": 1 if state.held is None else state.held.catalogue.version + 1,
        "signer": " and ".join(map(str, needed_roles(state))),
        "new_packs": len(new),
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
