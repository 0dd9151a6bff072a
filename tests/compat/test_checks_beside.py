# SPDX-License-Identifier: GPL-3.0-or-later
"""`gtfs fsck --due` reads for minutes beside a node, which lets go of reels meanwhile: that is no damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from onefile import Publisher

from gtfs.node.checks import Checks
from gtfs.node.reelspec import LeftCatalogue
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.reel.index import ReelRow
from gtfs.reel.reelrows import ReelRows
from gtfs.state import checkdue, turnover
from gtfs.state.checkdue import DAYS, check_due, find_damaged, read_marks
from gtfs.state.fsck import check_reel
from gtfs.state.state import State

LATE_S = 2_000_000_000 + DAYS * 24 * 3600


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """A publisher's with three reels."""
    pub = Publisher(tmp_path)
    with State(pub.repository) as opened:
        pub.publish(opened, 3)
        yield opened


def check_while(state: State, monkeypatch: pytest.MonkeyPatch, leave: Callable[[ReelRow], None]) -> dict[str, Any]:
    """What a check gives if this happens to the second reel as its turn comes."""
    second = state.index.reels.all()[1]

    def read(state: State, reel: ReelRow, damaged: set[Any]) -> Iterator[str]:
        if reel == second:
            leave(reel)
        return check_reel(state, reel, damaged)

    monkeypatch.setattr(checkdue, "check_reel", read)
    return check_due(state, lambda: False, lambda _done, _total: None, LATE_S)


def spoil(state: State, row: ReelRow) -> None:
    with state.layout.reel(row.name).open("r+b") as file:
        file.seek(20)
        file.write(bytes(10))


@pytest.mark.parametrize("has_row", [False, True])
def test_a_reel_that_has_gone_before_it_is_read_is_not_damaged(
    state: State, monkeypatch: pytest.MonkeyPatch, has_row: bool
) -> None:
    """Its file goes before its row: so no crash leaves one that the index does not know."""
    row = state.index.reels.all()[1]

    def leave(reel: ReelRow) -> None:
        state.index.packs.move_to_open_reel([(p.oid, None) for p in state.index.packs.reel_rows(reel.id)], "gone")
        with monkeypatch.context() as patch:
            if has_row:
                patch.setattr(ReelRows, "drop", lambda *_: None)
            turnover.drop(state.reel_files, [reel], None)

    assert check_while(state, monkeypatch, leave)["damaged"] == {}
    assert not state.layout.reel(row.name).exists()
    assert find_damaged(state.layout) == {} and row.name not in read_marks(state.layout)


def test_a_reel_of_which_pieces_leave_while_it_is_read_is_not_damaged(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(reel: ReelRow) -> None:
        state.index.reels.set_stage([reel.id], "partial")
        spoil(state, reel)

    assert check_while(state, monkeypatch, leave)["damaged"] == {}
    assert find_damaged(state.layout) == {}


def test_what_is_damaged_and_stays_is(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    row = state.index.reels.all()[1]
    assert set(check_while(state, monkeypatch, lambda reel: spoil(state, reel))["damaged"]) == {row.name}
    assert set(find_damaged(state.layout)) == {row.name}


def test_a_damaged_reel_that_leaves_the_swarm_before_it_is_hashed_again_ends_no_check(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = [row.name for row in state.index.reels.all()[:2]]
    hashed: list[str] = []

    async def recheck(row: ReelRow) -> None:
        if row.name == damaged[0]:
            raise LeftCatalogue(row.name)
        hashed.append(row.name)

    reel_torrents = cast(ReelTorrents, SimpleNamespace(recheck=recheck))
    monkeypatch.setattr("gtfs.node.checks.check_due", lambda *_: {"damaged": dict.fromkeys(damaged, "")})
    trio.run(Checks(state, reel_torrents).asked_check, {}, lambda _told: None)
    assert hashed == damaged[1:]


def test_what_was_read_while_the_clock_was_ahead_is_read_again(state: State) -> None:
    def check(now_s: int) -> None:
        check_due(state, lambda: False, lambda _done, _total: None, now_s)

    check(LATE_S)
    now_s = LATE_S - 10 * 365 * 24 * 3600
    for day in range(DAYS):
        check(now_s + day * 24 * 3600)
    assert all(mark.read_s < LATE_S - 365 * 24 * 3600 for mark in read_marks(state.layout).values())
