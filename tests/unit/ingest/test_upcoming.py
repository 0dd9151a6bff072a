# SPDX-License-Identifier: GPL-3.0-or-later
"""The packs of a run come in their order, each scanned once; signatures are looked for before they are asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gtfs.ids import ObjectId, PackDigest
from gtfs.ingest import upcoming
from gtfs.ingest.candidate import Candidate
from gtfs.ingest.examine import Examination
from gtfs.ingest.upcoming import Upcoming
from gtfs.pack.format import COMMIT, CorruptPack
from gtfs.pack.scan import Scan
from gtfs.trust.keyring import Keyring
from gtfs.trust.several import AHEAD, Search, SignedRaw

CANDIDATES = [Candidate(ObjectId(bytes([n]) * 20), Path(), 0, 1, None, is_ours=True) for n in range(3 * AHEAD)]
NOTHING = Scan((), 0, b"", PackDigest(bytes(32)), {}, None)  # type: ignore[arg-type]  # nobody counts
BAD = CANDIDATES[2].oid


class Run:
    """Upcoming of all candidates, and what it did; nothing is really searched."""

    def __init__(self, *, demands: bool = True, size: int = 1) -> None:
        self.scanned: list[ObjectId] = []
        self.searched: list[ObjectId] = []
        self.demands = demands
        self.size = size
        pool = ThreadPoolExecutor(1)
        pool.shutdown()
        self.upcoming = Upcoming(CANDIDATES, self.scan, self.search, pool)

    def scan(self, candidate: Candidate) -> Examination:
        self.scanned.append(candidate.oid)
        if candidate.oid == BAD:
            raise CorruptPack("bad", 0)
        return Examination(candidate.oid, bytes(self.size), NOTHING, COMMIT, (), b"")

    def search(self, of: Examination, candidate: Candidate) -> Search | None:
        if not self.demands:
            return None
        run = self

        class Noted(Search):
            def start(self, pool: object) -> None:
                run.searched.append(of.oid)

        return Noted(SignedRaw(of.oid, "commit", b""), Keyring(Path(), b"", frozenset()), None)


def test_signatures_of_the_next_packs_are_looked_for_ahead() -> None:
    run = Run()
    assert run.upcoming.take().candidate == CANDIDATES[0]
    assert run.searched == [c.oid for c in CANDIDATES[:AHEAD] if c.oid != BAD]
    run.upcoming.take()
    assert isinstance(run.upcoming.take().said, CorruptPack)


def test_each_pack_is_scanned_once_and_in_order() -> None:
    run = Run()
    taken = []
    while run.upcoming:
        first = run.upcoming.first()
        taken.append(run.upcoming.take().candidate)
        assert taken[-1] is first
    assert taken == CANDIDATES
    assert run.scanned == [c.oid for c in CANDIDATES]


def test_nothing_is_scanned_ahead_that_needs_no_signature() -> None:
    run = Run(demands=False)
    run.upcoming.take()
    assert run.scanned == [CANDIDATES[0].oid]


def test_large_packs_are_not_held_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upcoming, "_HELD_BYTES", 10)
    run = Run(size=10)
    run.upcoming.take()
    assert run.scanned == [CANDIDATES[0].oid]


def test_what_is_put_back_comes_next() -> None:
    run = Run()
    first, second = run.upcoming.take().candidate, run.upcoming.take().candidate
    run.upcoming.put_back([first, second])
    assert [run.upcoming.take().candidate for _ in range(3)] == CANDIDATES[:3]
