# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a repository that publishes by itself is to be published now, or when, by its setting ``gtfs.publish``.

Any thread.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.repo.history import Ref, add_kinds, read_places
from gtfs.state.outstanding import is_by_itself, read_outstanding
from gtfs.state.selection import Selection
from gtfs.state.state import State

RENEW_LEFT: Final = 0.5  # of the validity: a catalogue with less left is signed anew though nothing else changed
_DAY_S: Final = 24 * 3600
_TAGS = b"refs/tags/"

Refs = Mapping[bytes, ObjectId]
_NONE: Final[Refs] = MappingProxyType({})


def published_refs(state: State) -> dict[bytes, ObjectId]:
    """Where the refs stand now that are published; at the null id those that git cannot read. Raises `GitFailed`."""
    listed: Refs = {} if state.held is None else state.held.catalogue.refs
    places = read_places(state.repository)
    # What was published is a commit or a tag; git is asked what others are.
    refs = [Ref(name, oid, b"commit") for name, oid in places.items() if listed.get(name) == oid]
    refs += add_kinds(state.repository, {name: oid for name, oid in places.items() if listed.get(name) != oid})
    return standing(state.refs(sorted(refs)), state.repository.fmt)


def standing(selection: Selection, fmt: ObjectFormat) -> dict[bytes, ObjectId]:
    """Where the chosen refs stand, and at the null id those that are broken."""
    # Neither where they were nor gone: so it is told once that they are broken, and seen when one is taken away.
    broken = dict.fromkeys(selection.broken, ObjectId(bytes(fmt.oid_bytes)))
    return {ref.name: ref.oid for ref in selection.chosen} | broken


def is_due(state: State, refs: Refs, held_back: Refs = _NONE) -> bool:
    """Whether refs stand so that they are published, or a publish failed. Raises `BadConfig`, OSError.

    ``held_back``: where refs stood that the last publish held back; there the next would do so again.
    """
    if state.read_only or not is_by_itself(state.config):
        return False
    listed: Refs = {} if state.held is None else state.held.catalogue.refs
    if state.config.publish_mode() == "auto":
        names: Collection[bytes] = () if refs == listed else refs.keys() | listed.keys()
    else:
        names = [name for name in refs if name.startswith(_TAGS)]
    moved = (name for name in names if refs.get(name) != listed.get(name))
    has_moved = any(name not in held_back or held_back[name] != refs.get(name) for name in moved)
    return has_moved or read_outstanding(state.layout) is not None


def renewal_in_s(state: State, now_s: float) -> float:
    """How long until the held catalogue is signed anew though nothing moves; infinite where only who types it does so.

    Raises `BadConfig`.
    """
    if state.read_only or state.held is None or not is_by_itself(state.config):
        return math.inf
    left_s = state.held.catalogue.valid_until_s - now_s
    return left_s - RENEW_LEFT * state.config.valid_days() * _DAY_S
