# SPDX-License-Identifier: GPL-3.0-or-later
"""A document that may be a newer catalogue: judged, kept, and held; or another way is gone (design.md §5).

Synchronous, under the node's lock; `gtfs.catalogue.accept` says what is believed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from gtfs.catalogue.accept import (
    Accepted,
    AlteredChain,
    CatalogueRefused,
    Equivocation,
    FirstTrust,
    Held,
    OlderVersion,
)
from gtfs.catalogue.chunkstore import ChunkStore
from gtfs.catalogue.document import BadCatalogue, Catalogue, from_text
from gtfs.catalogue.goback import refuse_set_aside
from gtfs.catalogue.race import Race, nobody_signed_two, race_of
from gtfs.catalogue.recovery import recover
from gtfs.catalogue.refchunks import ChunksMissing
from gtfs.counted import counted
from gtfs.state.firsttrust import NotFollowing
from gtfs.state.rewind import go_back
from gtfs.state.state import State
from gtfs.trust.verify import split_clearsigned

log = logging.getLogger(__name__)

_BY_HAND: Final = "gtfs rewind"


def take_catalogue(state: State, document: bytes, first: FirstTrust) -> Accepted | None:
    """Hold what is newer; None for no news, and for a race, which is kept. Raises what `accept` does, OSError."""
    if state.keyring is None:
        raise NotFollowing("there is no key to check the catalogue with; give -o keyring=FILE")
    state.finish_hold()
    catalogues, now_s = state.catalogues, int(time.time())
    try:
        accepted = catalogues.judge(document, state.held, state.keyring, first, now_s)
    except BadCatalogue:
        catalogues.drop_unnamed_chunks()  # those that were fetched for it
        raise
    except CatalogueRefused as error:
        otherwise = _recover(state, document, now_s)
        if otherwise is None:
            if isinstance(error, Equivocation | AlteredChain):  # beside it stands what came in its place
                refuse_set_aside(catalogues, error.other, _BY_HAND)
            if state.held is not None and _note_race(state, state.held, error):
                return None
            if isinstance(error, Equivocation):
                _pass_by_others(state, error)
                log.error("%s; evidence is kept at %s", error, catalogues.save_equivocation(error))
            raise
        accepted = otherwise
    if not accepted.news:
        return None
    refuse_set_aside(catalogues, document, _BY_HAND)
    # Durable before it is acted on (§5).
    catalogues.save(accepted, state.held)
    state.hold(accepted)
    return accepted


def _recover(state: State, document: bytes, now_s: int) -> Accepted | None:
    """What takes the place of catalogues that fell with their key."""
    if state.held is None or state.keyring is None:
        return None
    found = recover(document, state.held, state.catalogues, state.keyring, now_s)
    if found is None:
        return None
    new = found.accepted.catalogue.version
    log.warning("catalogues above %d fell with the key that signed them; %d follows it", found.behind, new)
    go_back(state, found.behind)
    return found.accepted


def _note_race(state: State, held: Held, error: CatalogueRefused) -> bool:
    """Keep what another signer published at the same time; whether it is that."""
    if state.keyring is None or not isinstance(error, Equivocation | AlteredChain):
        return False
    race = race_of(error, held, state.catalogues.races(), state.keyring)
    if race is not None and state.catalogues.save_race(race):
        log.warning("%s takes the place of both", race.describe(held))
        state.look_who_vouches()
    return race is not None


def _pass_by_others(state: State, error: Equivocation) -> None:
    """Of a race that is over, what lost it may come along for long: raise `OlderVersion` if it is only that."""
    held, version = state.held, error.version
    if held is None or state.keyring is None or version >= held.catalogue.version:
        return
    if nobody_signed_two((state.catalogues.load(version).document, error.other), state.keyring):
        raise OlderVersion(f"it is version {version}, by another signer than the one that was held here then")


def say_what_differs(new: Catalogue, beside: Sequence[Race], chunks: ChunkStore) -> None:
    """The publisher who takes the place of others' catalogues hears first what becomes of their refs."""
    for race in beside:
        try:
            refs = from_text(split_clearsigned(race.document)[0], chunks.get, new.tree).refs
        except ChunksMissing as error:
            log.warning("catalogue %d takes the place of another signer's %d too: %s", new.version, race.version, error)
            continue
        names = [name for name, oid in refs.items() if new.refs.get(name) != oid]
        if names:
            log.warning(
                "catalogue %d takes the place of another signer's %d too, which has %s elsewhere, %s first",
                new.version, race.version, counted(len(names), "ref"), names[0].decode("utf-8", "replace"),
            )  # fmt: skip
