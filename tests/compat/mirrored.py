# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror without network, step by step, and a crash between two steps."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest
from keys import shared_keys

from gtfs.catalogue.accept import FirstTrust, Held, accept
from gtfs.ingest.candidate import Candidate
from gtfs.state import turnover
from gtfs.state.fsck import check
from gtfs.state.state import State


def all_is_well(state: State) -> None:
    assert list(check(state, lambda _done, _total: None)) == []


def listed(state: State) -> list[str]:
    assert state.held is not None
    return [entry.name for entry in state.held.catalogue.reels]


def take_catalogue(state: State, held: Held) -> None:
    """As `Follower` does it."""
    hold(state, held)
    state.drop_superseded(state.pop_superseded())


def hold(state: State, held: Held) -> None:
    """The same before the swarm has let go of reels."""
    assert state.keyring is not None
    first = FirstTrust(frozenset({shared_keys()["alice"]}))
    accepted = accept(held.document, state.held, state.keyring, first, int(time.time()))
    state.catalogues.save(accepted)
    state.hold(accepted)


def fetch(state: State, origin: State) -> list[str]:
    """What the swarm does: every listed reel that is not here comes from the publisher's disk. Gives their names."""
    fetched = []
    assert state.held is not None
    for name in listed(state):
        reel = state.index.reels.by_name(name)  # type: ignore[arg-type]
        assert reel is not None
        if reel.is_whole:
            continue
        for source in (origin.layout.metainfo(reel.name), origin.layout.reel(reel.name)):
            shutil.copy(source, state.layout.reels)
        source_reel = origin.index.reels.by_name(reel.name)
        assert source_reel is not None
        table = origin.reel_files.table(source_reel)
        assert table is not None
        state.reel_files.keep_table(reel, table.packs, 0)
        state.index.reels.set_stage([reel.id], "complete")
        turnover.adopt_whole(state.reel_files, state.held.catalogue, reel)
        rows = [row for row in state.index.packs.reel_rows(reel.id) if row.stage != "unpacked"]
        path = state.layout.reel(reel.name)
        outcome = state.ingest().run([Candidate(r.oid, path, r.offset or 0, r.size, r.digest, True) for r in rows])
        assert not outcome.refused and not outcome.waiting
        fetched.append(name)
    return fetched


class Died(BaseException):
    """Like a kill: nothing of the program's own handles it."""


def die_at(monkeypatch: pytest.MonkeyPatch, place: object, name: str, before: bool) -> None:
    real: Callable[..., object] = getattr(place, name)

    def dying(*args: object, **more: object) -> object:
        if not before:
            real(*args, **more)
        raise Died

    monkeypatch.setattr(place, name, dying)
