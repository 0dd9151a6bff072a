# SPDX-License-Identifier: GPL-3.0-or-later
"""The refs that an index made anew has to hold or to remember, from the stored catalogues and git. Any thread.

Which of the stored catalogues were followed is not known: a ref counts as held where it stands at a place that one of
them gave, so that it goes with a catalogue that drops it; of any other the last place whose commit was let in counts.
"""

from __future__ import annotations

import logging

from gtfs.catalogue.statementstore import DamagedStore
from gtfs.catalogue.store import CatalogueStore
from gtfs.ids import ObjectId
from gtfs.reel.index import Index
from gtfs.repo.history import OWN_REFS, read_refs
from gtfs.repo.repository import Repository
from gtfs.state.config import Config

log = logging.getLogger(__name__)


def restore_held_refs(repository: Repository, index: Index, catalogues: CatalogueStore) -> None:
    """Fill the held refs of an index that has its packs; raises `GitFailed`."""
    places: dict[bytes, list[ObjectId]] = {}  # where catalogues had a ref, the oldest first
    last: dict[bytes, ObjectId] = {}
    for version in catalogues.versions():
        try:
            last = catalogues.load(version).catalogue.refs
        except DamagedStore as e:
            log.warning("%s; where its refs stood is not restored", e)
            continue
        for name, oid in last.items():
            if (known := places.setdefault(name, [])) and known[-1] == oid:
                continue
            known.append(oid)
    if Config(repository).sign_key() is not None:
        index.refs.set_held(last)
        return
    refs = {ref.name: ref.oid for ref in read_refs(repository) if not ref.name.startswith(OWN_REFS)}
    held = {name: refs[name] for name, known in places.items() if refs.get(name) in known}
    rows = index.packs.get_many({oid for name, known in places.items() if name not in held for oid in known})
    here = {oid for oid, row in rows.items() if row.stage == "unpacked"}
    left = {}
    for name, known in places.items():
        if name not in held and (stood := [oid for oid in known if oid in here]):
            left[name] = stood[-1]
    index.refs.change(held, left=left)
