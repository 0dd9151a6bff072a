# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the git of a clone may move refs to, by the held catalogue and this node's policy (design.md §12).

Blocking; under the node's lock, in the thread that writes.
"""

from __future__ import annotations

import os
from typing import Any

from gtfs.ids import ObjectId, parse_object_id
from gtfs.ingest.lost import absent
from gtfs.ingest.refoffers import RefOffer, offer_refs, offered_before
from gtfs.repo.history import add_kinds
from gtfs.repo.work import UNWATCHED, Work
from gtfs.state.divergence import why_all_stay
from gtfs.state.firsttrust import NotFollowing
from gtfs.state.state import State

_UNREADABLE = "git has it, and not all of its history: git fsck"


def offer(state: State, work: Work = UNWATCHED) -> RefOffer:
    """Judge the refs of the held catalogue; where none may move, those that were offered before stay.

    What git has of them already by another way is encoded and judged, too: git does not ask us for it.
    """
    held = state.held
    assert held is not None
    wanted = held.catalogue.refs
    why = why_all_stay(state)
    if why is not None:
        return RefOffer(offered_before(state.repository, state.index), dict.fromkeys(wanted, why))
    found = offer_refs(state.repository, state.index, wanted, state.demands())
    here = _in_git(state, {name: wanted[name] for name in found.late})
    if not here:
        return found
    state.take_up(work, refs=add_kinds(state.repository, here))
    found = offer_refs(state.repository, state.index, wanted, state.demands())
    unreadable = here.keys() & found.late
    if not unreadable:
        return found
    before = offered_before(state.repository, state.index)
    refs = {name: oid for name, oid in found.refs.items() if name not in unreadable}
    refs |= {name: before[name] for name in unreadable if name in before}
    return RefOffer(
        refs,
        {**found.held_back, **dict.fromkeys(unreadable, _UNREADABLE)},
        found.late - unreadable,
        found.unjudged - unreadable,
    )


def _in_git(state: State, places: dict[bytes, ObjectId]) -> dict[bytes, ObjectId]:
    missing = set(absent(state.repository, list(dict.fromkeys(places.values()))))
    return {name: oid for name, oid in places.items() if oid not in missing}


def describe_offer(state: State) -> dict[str, Any]:
    """The same for git-remote-gtfs, as a running node answers it: names as `os.fsdecode` has them.

    Raises `NotFollowing` where it is none of git's to move refs.
    """
    held = state.held
    if held is None or not state.config.is_clone():
        raise NotFollowing(f"{state.repository.path} is no clone that git-remote-gtfs made")
    found, catalogue = offer(state), held.catalogue
    return {
        "object_format": catalogue.object_format.name,
        "head": None if catalogue.head is None else os.fsdecode(catalogue.head),
        "refs": {os.fsdecode(name): oid.hex() for name, oid in found.refs.items()},
        "held_back": {os.fsdecode(name): why for name, why in found.held_back.items()},
        "late": [os.fsdecode(name) for name in found.late],
        "unjudged": [os.fsdecode(name) for name in found.unjudged],
    }


def read_offer(said: dict[str, Any]) -> RefOffer:
    """What `describe_offer` gave; raises KeyError, `BadId`."""
    return RefOffer(
        {os.fsencode(name): parse_object_id(oid) for name, oid in said["refs"].items()},
        {os.fsencode(name): why for name, why in said["held_back"].items()},
        frozenset(map(os.fsencode, said["late"])),
        frozenset(map(os.fsencode, said["unjudged"])),
    )
