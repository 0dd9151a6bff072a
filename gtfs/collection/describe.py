# SPDX-License-Identifier: GPL-3.0-or-later
"""A followed collection for a page or JSON, by a daemon that follows it or from what one has kept. Blocking."""

from __future__ import annotations

import time
from typing import Any

from gtfs.catalogue.accept import Believed
from gtfs.catalogue.statementstore import StatementStore
from gtfs.collection.document import Collection, read_collection
from gtfs.collection.mirrors import Removals, removals
from gtfs.collection.places import CollectionPlaces
from gtfs.collection.record import Record, approved, read_record


def describe_held(held: Believed[Collection] | None) -> dict[str, Any]:
    """The version that is held."""
    if held is None:
        return {"collection": None, "version": None}
    now = held.catalogue
    return {
        "collection": now.repository,
        "version": now.version,
        "date": now.date_s,
        "valid_until": now.valid_until_s,
        "signers": list(now.signers),
        "repositories": len(now.entries),
    }


def describe_record(record: Record, found: Removals) -> dict[str, Any]:
    """The mirrors, and those that went."""
    return {
        "mirrors": [mirror.to_json() for _, mirror in sorted(record.mirrors.items())],
        "held_removals": list(found.held),
        "next_removal": found.next_s,
        "gone": [gone.to_json() for _, gone in sorted(record.gone.items())],
        "not_followed": dict(sorted(record.others.items())),
    }


def describe_kept(name: str, places: CollectionPlaces) -> dict[str, Any]:
    """What is on disk of a collection that no daemon follows just now; raises `BadRecord`, `DamagedStore`, OSError."""
    record = read_record(places.mirrors)
    found = removals(record.mirrors, approved(places.approved), record.said_s, int(time.time()))
    held = None
    if places.layout.catalogue.is_dir():
        held = StatementStore(places.layout.catalogue, read_collection, read_only=True).highest()
    kind = "manifest" if held is None else "collection"
    return {
        "name": name, "source": None, "kind": kind, "stage": None, "trouble": None,
        **describe_held(held), **describe_record(record, found),
    }  # fmt: skip
