# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks the seeds for which piece, without libtorrent."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.swarm import shares
from gtfs.swarm.peers import Company
from gtfs.swarm.pieces import IN_WINDOW, NOW, OWN, OWN_FIRST, UNWANTED, Board
from gtfs.swarm.rendezvous import (
    CACHE,
    LEFT_ALONE,
    MIRROR,
    MORE,
    MOST_OWNERS,
    Owners,
    client_of,
    make_peer_id,
    score,
    scores,
)
from gtfs.swarm.shares import (
    AT_ONCE,
    IDLE_PIECES,
    IDLE_S,
    LAST,
    LEAST,
    OPENINGS,
    PATIENCE_S,
    SETTLE_S,
    SLOW_S,
    TRICKLE_S,
    Fetch,
    Shares,
)

PIECES = 100
IDS = [b"-gt0100-%012d" % n for n in range(6)]


def share(wanted, mine, others):
    owners = Owners(mine, others, PIECES)
    # What it remembers says the same.
    assert owners.share(wanted) == owners.share(wanted)
    return owners.share(wanted)


def test_a_peer_id_says_the_client_and_the_version(monkeypatch):
    for number, digits in (("0.1.0", b"0100"), ("1.12.3", b"1C30"), ("2.0", b"2000"), ("0.2.0rc1", b"0200")):
        monkeypatch.setattr("gtfs.swarm.rendezvous.version", lambda number=number: number)
        assert make_peer_id(is_cache=False)[:8] == b"-gt%b-" % digits
        assert make_peer_id(is_cache=True)[:8] == b"-gc%b-" % digits
        assert len(make_peer_id(is_cache=True)) == 20


def test_a_gtfs_of_another_version_is_known_as_one():
    assert client_of(b"-gt0Z91-0123456789ab") == MIRROR and client_of(b"-gc9000-0123456789ab") == CACHE
    assert client_of(b"-TR4000-0123456789ab") is None and client_of(b"-gt0100x0123456789ab") is None


def test_scores_are_the_same_on_every_machine():
    assert scores(IDS[0], 3).hex() == "6779c8a51e10d932a89b1d95"
    assert scores(IDS[0], PIECES)[:12] == scores(IDS[0], 3)


@given(st.integers(1, len(IDS)), st.sets(st.integers(0, PIECES - 1)))
def test_each_piece_belongs_to_one_mirror(mirrors, wanted):
    lists = [scores(peer_id, PIECES) for peer_id in IDS[:mirrors]]
    owned = [share(wanted, mine, [other for other in lists if other is not mine])[0] for mine in lists]
    assert sorted(piece for pieces in owned for piece in pieces) == sorted(wanted)


@given(st.integers(2, len(IDS)), st.sets(st.integers(0, PIECES - 1)))
def test_helpers_leave_each_owner_its_first_pieces(mirrors, wanted):
    lists = [scores(peer_id, PIECES) for peer_id in IDS[:mirrors]]
    _, helped = share(wanted, lists[0], lists[1:])
    for mine in lists[1:]:
        own, _ = share(wanted, mine, [other for other in lists if other is not mine])
        assert not set(helped) & set(own[:LEFT_ALONE])
        assert set(own[LEFT_ALONE:]) <= set(helped)


def test_one_mirror_less_moves_few_pieces_between_the_others():
    lists = [scores(peer_id, PIECES) for peer_id in IDS]
    moved = 0
    for mine in lists[:-1]:
        others = [other for other in lists if other is not mine]
        before, _ = share(range(PIECES), mine, others)
        after, _ = share(range(PIECES), mine, others[:-1])
        moved += len(set(before) - set(after))
    assert moved <= PIECES * 0.05


@given(st.integers(1, len(IDS)), st.integers(0, PIECES))
def test_nobody_owns_much_more_than_the_others(mirrors, pieces):
    lists = [scores(peer_id, PIECES) for peer_id in IDS[:mirrors]]
    for mine in lists:
        own, _ = Owners(mine, [other for other in lists if other is not mine], pieces).share(range(pieces))
        assert len(own) <= math.ceil(MORE * pieces / mirrors)


ME, *OTHERS = IDS


def company(mirrors: dict[bytes, int], *, spread: Collection[int] = (), coming: int = 0) -> Company:
    return Company({}, mirrors, [piece in spread for piece in range(PIECES)], coming)


@pytest.fixture
def board():
    """All of it is wanted by a full fetch."""
    board = Board(PIECES, lambda _piece, _priority: None)
    board.want(range(PIECES), IN_WINDOW)
    return board


class DealtFetch(Fetch):
    """One that deals each time, as `Shares` has it."""

    def grades(self, found, downloaded_bytes, now_s):
        if (deal := self.due_deal(found, now_s)) is not None:
            self.take_deal(deal())
        return super().grades(found, downloaded_bytes, now_s)


@pytest.fixture
def fetch(board):
    return DealtFetch(ME, board)


def test_whoever_is_alone_asks_for_everything(fetch):
    assert fetch.grades(company({}), 0, 0) == {}


def test_as_long_as_others_are_being_dialled_little_is_asked_for(fetch):
    mine = sorted(range(PIECES), key=lambda piece: score(scores(ME, PIECES), piece))
    grades = fetch.grades(company({}, coming=2), 0, 0)
    assert {piece for piece, grade in grades.items() if grade == OWN_FIRST} == set(mine[-AT_ONCE:])
    assert [*grades.values()].count(UNWANTED) == PIECES - AT_ONCE
    assert fetch.grades(company({}, coming=2), 0, SETTLE_S) == {}


def test_our_own_come_first_and_those_of_others_wait_until_a_mirror_has_them(fetch, board):
    grades = fetch.grades(company({OTHERS[0]: 9}, spread=(3, 4)), 0, 0)
    own, _ = share(set(range(PIECES)) - {3, 4}, scores(ME, PIECES), [scores(OTHERS[0], PIECES)])
    assert {piece for piece, grade in grades.items() if grade in (OWN, OWN_FIRST)} == set(own)
    assert grades[own[0]] == OWN_FIRST > grades[own[-1]] == OWN > IN_WINDOW
    assert sum(grade == UNWANTED for grade in grades.values()) == PIECES - 2 - len(own)
    assert grades[3] == grades[4] == IN_WINDOW


def test_pieces_are_dealt_once_for_the_same_mirrors(board):
    fetch, deals = Fetch(ME, board), []
    for now_s, mirrors in enumerate((2, 2, 2, 1)):
        found = company(dict.fromkeys(OTHERS[:mirrors], 0))
        if (deal := fetch.due_deal(found, now_s)) is not None:
            deals.append(mirrors)
            fetch.take_deal(deal())
        assert fetch.grades(found, now_s, now_s)
    assert deals == [2, 1]


@pytest.mark.trio
async def test_pieces_are_dealt_in_a_thread(board, monkeypatch):
    threads, deal = [], shares._deal

    def deal_here(*given):
        threads.append(threading.current_thread())
        return deal(*given)

    async def look(_torrent):
        return company(dict.fromkeys(OTHERS[:2], 0))

    monkeypatch.setattr(shares, "_deal", deal_here)
    monkeypatch.setattr(shares, "company", look)
    torrent = SimpleNamespace(board=board, is_fetching=lambda: False)
    await Shares(ME, lambda: (), None)._share(torrent, Fetch(ME, board))
    assert len(threads) == 1 and threading.main_thread() not in threads


@given(st.integers(1, 20), st.integers(0, 200), st.integers(0, 2**32))
def test_pieces_are_dealt_as_the_rule_says_piece_by_piece(mirrors, pieces, seed):
    lists = [scores(b"-gt0100-%x-%d" % (seed, n), pieces + 1) for n in range(mirrors)]
    owners = sorted(lists, key=lambda theirs: score(theirs, 0), reverse=True)[:MOST_OWNERS]
    left = dict.fromkeys(range(len(owners)), math.ceil(MORE * pieces / len(owners)))

    def claim(piece):
        return max((score(owners[who], piece), who) for who in left)

    owned = [[] for _ in owners]
    for (highest, who), piece in sorted(((claim(piece), piece) for piece in range(pieces)), reverse=True):
        if who not in left:
            highest, who = claim(piece)
        owned[who].append((highest, piece))
        left[who] -= 1
        if not left[who]:
            del left[who]
    found = ([piece for _, piece in sorted(theirs, reverse=True)] for theirs in owned)
    expected = dict(zip(owners, found, strict=True))
    for mine in lists:
        own, _ = Owners(mine, [other for other in lists if other is not mine], pieces).share(range(pieces))
        assert own == expected.get(mine, [])


def test_very_few_pieces_are_not_shared(board):
    for piece in range(PIECES - LEAST + 1):
        board.finish(piece)
    assert DealtFetch(ME, board).grades(company(dict.fromkeys(OTHERS, 0)), 0, 0) == {}


def test_of_many_mirrors_some_own_all_pieces():
    lists = [scores(b"-gt0100-%012d" % n, PIECES) for n in range(3 * MOST_OWNERS)]
    owned = [share(range(PIECES), mine, [other for other in lists if other is not mine])[0] for mine in lists]
    assert sorted(piece for pieces in owned for piece in pieces) == [*range(PIECES)]
    assert sum(bool(pieces) for pieces in owned) <= MOST_OWNERS


def own_and_others() -> tuple[list[int], list[int]]:
    return share(range(PIECES), scores(ME, PIECES), [scores(OTHERS[0], PIECES)])


def test_whoever_has_all_of_its_own_does_not_need_the_seeds(fetch, board):
    mirrors = {OTHERS[0]: 9}
    own, _ = own_and_others()
    fetch.grades(company(mirrors), 0, 0)
    assert fetch.needs_seeds
    for piece in own:
        board.finish(piece)
    grades = fetch.grades(company(mirrors), 1, 1)
    assert not fetch.needs_seeds
    assert set(grades.values()) == {UNWANTED}


def test_whoever_is_alone_needs_the_seeds_again(fetch, board):
    own, _ = own_and_others()
    for piece in own:
        board.finish(piece)
    fetch.grades(company({OTHERS[0]: 9}), 0, 0)
    assert not fetch.needs_seeds
    fetch.grades(company({}), 0, 1)
    assert fetch.needs_seeds


def test_those_who_went_are_not_remembered_piece_by_piece(fetch):
    for n in range(50):
        fetch.grades(company({b"-gt0100-%012d" % n: 1}), n, n / 10)
    assert len(fetch._scores) == 2


def test_pieces_behind_the_window_are_asked_for_when_no_others_are_our_own(board):
    own, _ = own_and_others()
    far = own[:9]
    board.unwant(far, IN_WINDOW)
    for piece in own[9:]:
        board.finish(piece)
    fetch = DealtFetch(ME, board)
    board.grade(fetch.grades(company({OTHERS[0]: 9}), 0, 0))
    assert [p for p in far if board.priorities()[p]] == far[:AT_ONCE]
    board.grade({})
    assert not any(board.priorities()[p] for p in far)


def test_when_nothing_comes_those_of_others_are_asked_for_too(fetch):
    mirrors = {OTHERS[0]: 0}
    assert UNWANTED in fetch.grades(company(mirrors), 1, 0).values()
    assert UNWANTED in fetch.grades(company(mirrors), 2, PATIENCE_S).values()
    grades = fetch.grades(company({OTHERS[0]: 1}), 2, 2 * PATIENCE_S)
    assert set(grades.values()) == {OWN, OWN_FIRST}


def test_bytes_that_make_no_piece_do_not_hold_up_anything(fetch, board):
    def at(now_s: float) -> set[int]:
        # Its peers claim new pieces all the time.
        return set(fetch.grades(company({OTHERS[0]: int(now_s)}), int(now_s), now_s).values())

    assert UNWANTED in at(0)
    assert UNWANTED in at(TRICKLE_S / 2)
    board.finish(0)
    for now_s in (TRICKLE_S - 2, TRICKLE_S, TRICKLE_S + 2, TRICKLE_S + 4, TRICKLE_S + 6):
        assert UNWANTED in at(now_s)
    assert UNWANTED not in at(2 * TRICKLE_S)


def test_a_peer_that_gets_nothing_while_we_do_owns_nothing_after_a_while(fetch, board):
    both = share(range(PIECES), scores(ME, PIECES), [scores(peer_id, PIECES) for peer_id in OTHERS[:2]])
    assert set(both[0]) <= fetch.grades(company({OTHERS[0]: 0, OTHERS[1]: 0}), 0, 0).keys()
    for piece in range(IDLE_PIECES):
        board.finish(piece)
    grades = fetch.grades(company({OTHERS[0]: 0, OTHERS[1]: 7}), 9, IDLE_S)
    one, _ = share(range(IDLE_PIECES, PIECES), scores(ME, PIECES), [scores(OTHERS[1], PIECES)])
    assert {piece for piece, grade in grades.items() if grade in (OWN, OWN_FIRST)} == set(one)


def test_where_nobody_gets_much_everybody_keeps_its_own(fetch, board):
    mirrors = dict.fromkeys(OTHERS, 0)
    own, _ = share(range(PIECES), scores(ME, PIECES), [scores(peer_id, PIECES) for peer_id in OTHERS])
    fetch.grades(company(mirrors), 0, 0)
    for piece in range(IDLE_PIECES - 1):
        board.finish(piece)
    grades = fetch.grades(company(mirrors), 9, 2 * IDLE_S)
    assert {piece for piece, grade in grades.items() if grade in (OWN, OWN_FIRST)} == set(own) - {
        *range(IDLE_PIECES - 1)
    }


def test_who_gets_less_without_the_seeds_than_with_them_goes_back_and_helps(fetch, board):
    mirrors = {OTHERS[0]: 50}
    own, others = own_and_others()
    fetch.grades(company(mirrors), 0, 0)
    for piece in own:
        board.finish(piece)
    for now_s, came in ((4, 4000), (5, 4500), (6, 4900), (4 + SLOW_S, 5000)):
        grades = fetch.grades(company({OTHERS[0]: came}), came, now_s)
        assert fetch.needs_seeds == (now_s == 4 + SLOW_S)
    assert {piece for piece, grade in grades.items() if grade in (OWN, OWN_FIRST)} == set(others[:AT_ONCE])
    # Once and for all.
    fetch.grades(company({OTHERS[0]: 9000}), 100_000, 7)
    assert fetch.needs_seeds


def test_who_gets_less_leaves_the_seeds_alone_as_long_as_they_give_others_as_much(fetch, board):
    own, others = own_and_others()
    fetch.grades(company({OTHERS[0]: 1}), 0, 0)
    for piece in own:
        board.finish(piece)
    began_s = 16
    pace = len(own) / began_s  # pieces a second
    for step in range(3):
        now_s = began_s + step * SLOW_S
        spread = own + others[: math.ceil(step * SLOW_S * pace / 2)]
        fetch.grades(company({OTHERS[0]: step}, spread=spread), 4000 + step, now_s)
        assert not fetch.needs_seeds
    fetch.grades(company({OTHERS[0]: 9}, spread=spread), 4009, now_s + SLOW_S)
    assert fetch.needs_seeds  # the last ones have all reached somebody: now the seeds have time


def test_for_the_last_pieces_nobody_goes_back_to_the_seeds(fetch, board):
    fetch.grades(company({OTHERS[0]: 1}), 0, 0)
    for piece in range(LAST, PIECES):
        board.finish(piece)
    for step in range(4):
        fetch.grades(company({OTHERS[0]: 90 + step}, spread=range(LAST)), 4000 + step, 16 + step * SLOW_S)
        assert not fetch.needs_seeds


def test_whoever_asked_for_everything_stops_once_pieces_reach_mirrors_again_but_not_for_ever(fetch):
    now_s, reached = 0.0, 0

    def asks_for_everything() -> bool:
        grades = fetch.grades(company({OTHERS[0]: reached}, spread=range(reached)), 1, now_s)
        return UNWANTED not in grades.values()

    for opening in range(1, OPENINGS + 1):
        assert not asks_for_everything()
        now_s += PATIENCE_S
        assert asks_for_everything()
        reached += AT_ONCE - 1
        assert asks_for_everything()
        reached += 1
        assert asks_for_everything() == (opening == OPENINGS)


def test_a_reader_is_never_held_up(board):
    board.want([5, 6], NOW)
    board.grade(dict.fromkeys(range(PIECES), UNWANTED))
    assert board.priorities() == [UNWANTED] * 5 + [NOW] * 2 + [UNWANTED] * (PIECES - 7)
    board.unwant([5], NOW)
    board.grade({6: OWN})
    assert board.priorities() == [IN_WINDOW] * 6 + [NOW] + [IN_WINDOW] * (PIECES - 7)
