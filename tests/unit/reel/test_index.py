# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading

import pytest

from gtfs.reel.index import (
    Index,
    IndexBusy,
    IndexCorrupt,
    IndexUnusable,
    ReelConflict,
    ReelPack,
    SeenPack,
    SignOff,
)
from gtfs.reel.ledger import Before, SignatureRow

NAME = "ab" * 32
HASH = b"\7" * 20


@pytest.fixture
def index(tmp_path):
    with Index(tmp_path / "node.db") as index:
        yield index
        assert index.check() == []


def table_of(packs, start=0):
    out = []
    for pack in packs:
        out.append(ReelPack(pack.oid, len(pack.data), pack.digest, start))
        start += len(pack.data)
    return out


def test_a_pack_in_the_open_reel_is_found_by_id_and_by_row(index, packs):
    a, b = packs.chain(2)
    index.packs.put_local([a.local(0), b.local(500, "verified")])
    row = index.packs.get(b.oid)
    assert row == index.packs.get_by_row(row.row) == index.packs.get_many([b.oid, b"\0" * 20])[b.oid]
    assert row[1:10] == (b.oid, 1, 1, len(b.data), b.digest, "verified", None, 500, None)
    assert row.first_seen_s > 1_600_000_000
    assert index.packs.get(b"\0" * 20) is None
    assert index.packs.get_by_row(99) is None
    assert [r.oid for r in index.packs.open_rows()] == [a.oid, b.oid]


def test_rows_that_went_are_told_once_as_soon_as_everybody_sees_that_they_did(index, packs):
    a, b, c, d = packs.chain(4)
    index.packs.put_local([a.local(0), b.local(500), c.local(1000), d.local(1500)])
    row = {pack: index.packs.get(pack.oid).row for pack in (a, b, c, d)}
    assert index.packs.pop_gone() == []
    index.packs.drop([a.oid])
    assert index.packs.pop_gone() == [row[a]]
    with index.transaction():
        index.packs.drop([b.oid])
        index.packs.move_to_open_reel([(c.oid, None), (d.oid, 0)], "why")
        assert index.packs.pop_gone() == []
    assert index.packs.pop_gone() == [row[b], row[c]]
    assert index.packs.pop_gone() == []


def test_listings_go_on_where_they_stopped(index, packs):
    made = packs.chain(5)
    index.packs.put_local(pack.local(n) for n, pack in enumerate(made))
    first = index.packs.rows_after(0, 2)
    rest = index.packs.rows_after(first[-1].row, 100)
    assert [row.oid for row in first + rest] == [pack.oid for pack in made]
    assert index.packs.rows_after(rest[-1].row, 10) == []


def test_a_listing_leaves_out_what_has_no_place(index, packs):
    made = packs.chain(4)
    index.packs.put_local(pack.local(None if n == 1 else 100 * n) for n, pack in enumerate(made))
    first = index.packs.listed_after(0, 2)
    rest = index.packs.listed_after(first[-1][0], 10)
    assert [row[1:] for row in first + rest] == [
        (made[n].oid, len(made[n].data), made[n].time_s, "unpacked", len(made[n].data)) for n in (0, 2, 3)
    ]
    assert index.packs.last_row() == rest[-1][0]


def test_a_listing_says_all_is_here_of_packs_in_git_or_in_whole_reels_only(index, packs):
    in_git, of_whole, of_partial = packs.chain(3)
    whole, partial = (
        index.reels.put(str(n) * 64, bytes([n]) * 20, 1000, 3, 1, stage)
        for n, stage in ((1, "complete"), (2, "partial"))
    )
    index.packs.put_reel_rows(whole, [ReelPack(of_whole.oid, 30, of_whole.digest, 0)], 0)
    index.packs.put_reel_rows(
        partial, [ReelPack(p.oid, 30, p.digest, 40 * n) for n, p in enumerate((in_git, of_partial))], 0
    )
    index.packs.set_stage([in_git.oid], "unpacked")
    assert {oid: here for _, oid, _, _, _, here in index.packs.listed_after(0, 10)} == {
        in_git.oid: 30, of_whole.oid: 30, of_partial.oid: None
    }  # fmt: skip
    row = index.packs.get(of_partial.oid).row
    assert index.packs.places_between(row, row) == {row: (partial, 40)}


def test_a_row_that_was_looked_up_follows_the_changes(index, packs):
    (a,) = packs.chain(1)
    assert (index.packs.get(a.oid), index.packs.get_by_row(1)) == (None, None)
    index.packs.put_local([a.local(0, "verified")])
    assert index.packs.get(a.oid).stage == index.packs.get_by_row(1).stage == "verified"
    with index.transaction():
        index.packs.set_stage([a.oid], "unpacked")
        assert index.packs.get(a.oid).stage == "unpacked"
        seen = []
        other = threading.Thread(target=lambda: seen.append(index.packs.get(a.oid).stage))
        other.start()
        other.join()
        assert seen == ["verified"]
    assert index.packs.get(a.oid).stage == index.packs.get_by_row(1).stage == "unpacked"
    index.packs.drop([a.oid])
    assert (index.packs.get(a.oid), index.packs.get_by_row(1)) == (None, None)


def test_lost_packs_make_all_of_history_be_walked_again(index, packs):
    a, b = packs.chain(2)
    index.packs.put_local([a.local(0), b.local(500)])
    index.meta.set_taken_up([a.oid, b.oid])
    assert index.meta.taken_up() == {a.oid, b.oid}
    index.packs.drop([a.oid])
    assert index.meta.taken_up() == frozenset()


def test_totals_follow_the_changes(index, packs):
    made = packs.chain(3)
    assert (index.packs.count(), index.packs.total_bytes(), index.packs.count_by_stage()) == (0, 0, {})
    index.packs.put_local(pack.local(0) for pack in made[:2])
    assert (index.packs.count(), index.packs.total_bytes()) == (2, len(made[0].data) + len(made[1].data))
    index.packs.put_local([made[2].local(None, "waiting")])
    assert index.packs.count() == 3
    assert index.packs.count_by_stage() == {"unpacked": 2, "waiting": 1}
    index.packs.set_stage([made[2].oid], "refused")
    assert index.packs.count() == 3
    index.packs.drop([made[2].oid])
    assert index.packs.count() == 2
    with index.transaction():
        index.packs.put_local([made[2].local(None, "waiting")])
        assert index.packs.count() == 3
        index.packs.drop([pack.oid for pack in made[:2]])
        assert index.packs.count() == 1
    assert (index.packs.count(), index.packs.total_bytes()) == (1, len(made[2].data))


def test_totals_are_what_counting_gives_whatever_is_done(index, packs):
    made = packs.chain(300)
    chance = random.Random(3)
    index.reels.put("a" * 64, b"a" * 20, 1000, 300, 1, "remote")
    for _ in range(60):
        some = chance.sample(made, chance.randrange(1, 30))
        what = chance.randrange(4)
        if what == 0:
            index.packs.put_local(pack.local(chance.choice([None, 7])) for pack in some)
        elif what == 1:
            digest = chance.randbytes(32)
            index.packs.put_reel_rows(
                1, [ReelPack(p.oid, chance.randrange(1, 9), digest, n) for n, p in enumerate(some)], 0
            )
        elif what == 2:
            index.packs.set_stage([pack.oid for pack in some], chance.choice(["refused", "waiting", "unpacked"]))
        else:
            with contextlib.suppress(KeyError), index.transaction():
                index.packs.drop(pack.oid for pack in some)
                if chance.random() < 0.5:
                    raise KeyError  # and nothing of it counts
        assert index.check() == []
    assert sum(index.packs.count_by_stage().values()) == index.packs.count() > 0


def test_an_index_without_totals_counts_them_when_it_is_opened(tmp_path, packs):
    path, made = tmp_path / "node.db", packs.chain(3)
    with Index(path) as index:
        index.packs.put_local(pack.local(n) for n, pack in enumerate(made))
        index.packs.set_stage([made[0].oid], "refused")
        expected = (index.packs.count(), index.packs.total_bytes(), index.packs.count_by_stage())
    for way in ("DROP TABLE totals", "UPDATE totals SET packs = 7"):
        with contextlib.closing(sqlite3.connect(path)) as db:
            if way.startswith("DROP"):
                for trigger in ("come", "go", "change"):
                    db.execute(f"DROP TRIGGER totals_{trigger}")
            db.execute(way)
            db.commit()
        with Index(path, read_only=True) as index:
            said = (index.packs.count(), index.packs.total_bytes(), index.packs.count_by_stage())
            assert (said == expected) == (index.check() == []) == way.startswith("DROP")
        with Index(path) as index:
            assert len(index.check()) == (0 if way.startswith("DROP") else 5)
            assert way.startswith("UPDATE") or index.packs.count_by_stage() == expected[2]


def test_which_of_some_packs_are_unpacked_is_looked_up_by_their_ids(index, packs, monkeypatch):
    made = packs.chain(3)
    index.packs.put_local(pack.local(n) for n, pack in enumerate(made))
    index.packs.set_stage([made[1].oid], "refused")
    asked = []
    rows = index.packs._db.rows
    monkeypatch.setattr(index.packs._db, "rows", lambda *words: (asked.append(words), rows(*words))[1])
    assert index.packs.unpacked_of(pack.oid for pack in made) == {made[0].oid, made[2].oid}
    ((sql, values),) = asked
    ((*_, plan),) = rows(f"EXPLAIN QUERY PLAN {sql}", values)
    assert "(oid=?)" in plan and "packs_state" not in plan


def test_refs_are_of_a_catalogue_until_any_changes(index, packs, monkeypatch):
    a, b = (pack.oid for pack in packs.chain(2))
    first, second = {b"refs/heads/a": a, b"refs/heads/b": b}, {b"refs/heads/a": b, b"refs/heads/c": a}
    index.refs.set_held(first, "11")
    assert index.refs.are_of("11") and not index.refs.are_of("22")
    with monkeypatch.context() as patch:
        patch.setattr(index.refs, "held", lambda: pytest.fail("they were read"))
        index.refs.set_held(second, "22", Before("11", first))
    assert index.refs.held() == second and index.refs.are_of("22") and not index.refs.are_of("11")
    index.refs.change({b"refs/heads/a": a})
    assert not index.refs.are_of("22")
    index.refs.set_held(first, "33", Before("22", second))  # of which that is not true any more
    assert index.refs.held() == first and index.refs.are_of("33")
    index.refs.set_held(second)
    assert index.refs.held() == second and not index.refs.are_of("33")
    with pytest.raises(KeyError), index.transaction():
        index.refs.set_held(first, "44")
        raise KeyError
    assert index.refs.held() == second and not index.refs.are_of("44")


def test_held_refs_are_read_once_until_they_change(index, packs, monkeypatch):
    a, b = (pack.oid for pack in packs.chain(2))
    read = []
    rows = index.refs._db.rows
    monkeypatch.setattr(index.refs._db, "rows", lambda sql, values=(): (read.append(sql), rows(sql, values))[1])
    index.refs.change({b"refs/heads/a": a})
    for _ in range(3):
        assert index.refs.held() == {b"refs/heads/a": a}
        index.meta.set("another", "change")
    assert len(read) == 1
    with pytest.raises(KeyError), index.transaction():
        index.refs.change({b"refs/heads/a": b})
        seen = []
        other = threading.Thread(target=lambda: seen.append(index.refs.held()))
        other.start()
        other.join()
        assert index.refs.held() == {b"refs/heads/a": b} and seen == [{b"refs/heads/a": a}]
        raise KeyError
    assert index.refs.held() == {b"refs/heads/a": a}
    with index.transaction():
        index.refs.set_held({b"refs/heads/b": b})
    assert index.refs.held() == index.refs.held() == {b"refs/heads/b": b}
    with pytest.raises(TypeError):
        index.refs.held()[b"refs/heads/c"] = a
    with Index(index.path, read_only=True) as reader:
        assert reader.refs.held() == {b"refs/heads/b": b}
        index.refs.change({b"refs/heads/b": a})
        assert reader.refs.held() == {b"refs/heads/b": a}


def test_known_takes_any_number_of_ids(index, packs):
    made = packs.chain(1203)
    index.packs.put_local(pack.local(n) for n, pack in enumerate(made))
    others = [n.to_bytes(20, "big") for n in range(1000)]
    assert index.packs.known([*others, *(pack.oid for pack in made)]) == {pack.oid for pack in made}
    assert len(index.packs.get_many(pack.oid for pack in made)) == 1203
    assert index.packs.known([]) == set()


def test_row_numbers_are_never_given_twice(index, packs):
    a, b = packs.chain(2)
    index.packs.put_local([a.local(0)])
    index.packs.put_local([b.local(0)])
    row = index.packs.get(b.oid).row
    index.packs.drop([b.oid])
    assert (index.history.parents_of(b.oid), index.history.children_of(a.oid)) == ([], [])
    index.packs.put_local([b.local(0)])
    assert index.packs.get(b.oid).row > row
    assert (index.history.parents_of(b.oid), index.history.children_of(a.oid)) == ([a.oid], [b.oid])


def test_a_transaction_is_all_or_nothing_and_its_thread_sees_it_at_once(index, packs):
    a, b = packs.chain(2)
    seen_elsewhere = []

    def look():
        seen_elsewhere.append(index.packs.get(a.oid))

    with pytest.raises(ZeroDivisionError), index.transaction():
        index.packs.put_local([a.local(0)])
        index.meta.set("k", "v")
        assert index.packs.get(a.oid) is not None
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        raise ZeroDivisionError
    assert seen_elsewhere == [None]
    assert index.packs.get(a.oid) is None
    assert index.meta.get("k") is None
    with index.transaction():
        with pytest.raises(ZeroDivisionError), index.transaction():
            index.packs.put_local([a.local(0)])
            raise ZeroDivisionError
        index.packs.put_local([b.local(0)])
    assert index.packs.known([a.oid, b.oid]) == {b.oid}


def test_threads_read_and_write_together(index, packs):
    made = packs.chain(200)
    failures = []

    def write(part):
        for pack in part:
            index.packs.put_local([pack.local(0)])

    def read():
        for pack in made:
            row = index.packs.get(pack.oid)
            if row is not None and row.digest != pack.digest:
                failures.append(row)
            index.packs.rows_after(0, 50)

    threads = [threading.Thread(target=write, args=(made[n::2],)) for n in range(2)]
    threads += [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert index.packs.count() == 200


def test_a_reels_packs_are_remote_until_seen(index, packs):
    made = packs.chain(3)
    reel = index.reels.put(NAME, HASH, 5000, 3, 7, "remote")
    assert index.packs.put_reel_rows(reel, table_of(made), time_s=77) == []
    row = index.packs.get(made[1].oid)
    assert (row.stage, row.kind, row.time_s, row.reel, row.offset) == ("remote", None, 77, reel, len(made[0].data))
    index.packs.set_kind_time([SeenPack(made[1].oid, 1, 5, made[1].parents)])
    row = index.packs.get(made[1].oid)
    assert (row.kind, row.time_s) == (1, 5)
    assert index.history.parents_of(made[1].oid) == [made[0].oid]
    assert [r.oid for r in index.packs.reel_rows(reel)] == [pack.oid for pack in made]
    assert index.reels.all() == [index.reels.get(reel)] == [index.reels.by_name(NAME)]
    assert index.reels.get(reel)[1:] == (NAME, HASH, 5000, 3, 7, "remote")


def test_packs_of_the_open_reel_keep_their_place_when_a_reel_lists_them(index, packs):
    a, b = packs.chain(2)
    index.packs.put_local([a.local(123)])
    reel = index.reels.put(NAME, HASH, 5000, 2, 1, "complete")
    index.packs.put_reel_rows(reel, table_of([a, b]), 0)
    assert (index.packs.get(a.oid).reel, index.packs.get(a.oid).offset, index.packs.get(a.oid).stage) == (
        None,
        123,
        "unpacked",
    )
    assert index.packs.get(b.oid).reel == reel


def test_a_pack_written_here_leaves_the_reel_that_is_not_here(index, packs):
    pack = packs.make(1)
    reel = index.reels.put(NAME, HASH, 5000, 1, 1, "remote")
    index.packs.put_reel_rows(reel, table_of([pack]), 0)
    row = index.packs.get(pack.oid).row
    index.packs.put_local([pack.local(None, "waiting")])
    assert (index.packs.get(pack.oid).reel, index.packs.get(pack.oid).offset) == (reel, 0)
    index.packs.put_local([pack.local(40)])
    assert (index.packs.get(pack.oid).reel, index.packs.get(pack.oid).offset, index.packs.get(pack.oid).row) == (
        None,
        40,
        row,
    )
    index.packs.put_local([pack.local(90)])
    assert index.packs.get(pack.oid).offset == 40


def test_a_pack_in_a_complete_reel_stays_there(index, packs):
    pack = packs.make(1)
    reel = index.reels.put(NAME, HASH, 5000, 1, 0, "complete")
    index.packs.put_local([pack.local(40)])
    index.packs.move_to_reel(reel, [(pack.oid, 8)])
    index.packs.put_local([pack.local(99)])
    assert (index.packs.get(pack.oid).reel, index.packs.get(pack.oid).offset) == (reel, 8)
    assert index.packs.open_rows() == []


def test_what_holds_packs_is_known_without_looking_at_them_all(index, packs):
    a, b, c = packs.chain(3)
    reel = index.reels.put(NAME, HASH, 5000, 2, 1, "partial")
    empty = index.reels.put("cd" * 32, HASH, 6000, 1, 2, "remote")
    assert not index.reels.holds(None) and not index.reels.holds(reel)
    index.packs.put_reel_rows(reel, table_of([a, b]), 0)
    assert index.reels.holds(reel) and not index.reels.holds(empty) and not index.reels.holds(None)
    index.packs.set_stage([a.oid], "unpacked")
    index.packs.set_stage([b.oid], "refused", "for a reason")
    assert index.reels.holds_any(reel, ("remote", "refused")) and not index.reels.holds_any(
        empty, ("remote", "refused")
    )
    assert not index.reels.holds_any(reel, ("remote", "waiting"))
    index.packs.put_local([c.local(None)])
    assert not index.reels.holds(None)
    index.packs.put_local([c.local(0)])
    assert index.reels.holds(None)


def test_a_complete_reel_takes_over_packs_from_one_that_is_not(index, packs):
    pack = packs.make(1)
    far = index.reels.put(NAME, HASH, 5000, 1, 1, "partial")
    index.packs.put_reel_rows(far, table_of([pack]), 0)
    also_far = index.reels.put("cd" * 32, HASH, 6000, 1, 2, "remote")
    index.packs.put_reel_rows(also_far, table_of([pack], 10), 0)
    assert index.packs.get(pack.oid).reel == far
    here = index.reels.put("ef" * 32, HASH, 7000, 1, 3, "complete")
    index.packs.put_reel_rows(here, table_of([pack], 20), 0)
    assert (index.packs.get(pack.oid).reel, index.packs.get(pack.oid).offset) == (here, 20)


def test_a_table_with_another_digest_is_told_and_changes_nothing(index, packs):
    a, b = packs.chain(2)
    index.packs.put_local([a.local(0)])
    before = index.packs.get(a.oid)
    reel = index.reels.put(NAME, HASH, 5000, 2, 1, "complete")
    lie = [ReelPack(a.oid, 99, b"\1" * 32, 0), *table_of([b], 99)]
    assert index.packs.put_reel_rows(reel, lie, 0) == [a.oid]
    assert index.packs.get(a.oid) == before
    assert index.packs.get(b.oid).reel == reel


def test_a_refused_pack_starts_again_when_a_reel_brings_other_bytes(index, packs):
    a, b = packs.chain(2)
    index.packs.put_local([a.local(None)._replace(digest=b"\2" * 32), b.local(None)])
    index.packs.set_stage([a.oid, b.oid], "refused", "bad")
    assert index.packs.get(a.oid).reason == "bad"
    reel = index.reels.put(NAME, HASH, 5000, 2, 1, "remote")
    assert index.packs.put_reel_rows(reel, table_of([a, b]), 0) == []
    row = index.packs.get(a.oid)
    assert (row.stage, row.reason, row.digest, row.reel) == ("remote", None, a.digest, reel)
    # The same bytes are refused for the same reason.
    assert (index.packs.get(b.oid).stage, index.packs.get(b.oid).reason) == ("refused", "bad")


def test_a_reel_keeps_the_version_that_first_listed_it(index):
    reel = index.reels.put(NAME, HASH, 5000, 2, 0, "complete")
    for version in (4, 5):
        assert index.reels.put(NAME, HASH, 5000, 2, version, "remote") == reel
        assert index.reels.get(reel)[5:] == (4, "complete")
    index.reels.set_stage([reel], "retired")
    assert index.reels.get(reel).stage == "retired"


def test_a_reel_under_a_known_name_with_other_contents_is_refused(index):
    index.reels.put(NAME, HASH, 5000, 2, 0, "remote")
    for infohash, size, rows in ((b"\1" * 20, 5000, 2), (HASH, 5001, 2), (HASH, 5000, 3)):
        with pytest.raises(ReelConflict):
            index.reels.put(NAME, infohash, size, rows, 9, "remote")
    assert index.reels.by_name(NAME).version == 0


def test_children_are_known_before_their_parents(index, packs):
    a, b = packs.make(1), packs.make(2)
    c = packs.make(3, a, b)
    index.packs.put_local([c.local(None, "waiting"), a.local(0, "verified")])
    assert index.history.children_of(b.oid) == [c.oid]
    assert [row.oid for row in index.packs.with_stage("waiting")] == [c.oid]


def test_times_beyond_64_bits_are_kept_as_the_last_second(index, packs):
    index.packs.put_local([packs.make(1).local(0)._replace(time_s=1 << 70)])
    assert index.packs.rows_after(0, 1)[0].time_s == (1 << 63) - 1


def test_the_small_tables_keep_what_they_are_given(index, packs):
    a, b = packs.chain(2)
    index.refs.set_held({b"refs/heads/a": a.oid, b"refs/x/\xff": b.oid})
    index.refs.change({b"refs/heads/b": b.oid, b"refs/heads/a": b.oid}, [b"refs/x/\xff"])
    assert index.refs.held() == {b"refs/heads/a": b.oid, b"refs/heads/b": b.oid}
    index.refs.set_held({})
    assert index.refs.held() == {}
    row = SignatureRow("A" * 40, "B" * 40, 5, None, b"k" * 32)
    index.signers.put({a.oid: row})
    index.signers.put({a.oid: row._replace(expires_s=7)})
    assert index.signers.of([a.oid, b.oid]) == {a.oid: row._replace(expires_s=7)}
    index.refs.change({}, [b"refs/heads/c"], left={b"refs/heads/c": a.oid})
    assert (index.refs.held(), index.refs.left()) == ({}, {b"refs/heads/c": a.oid})
    index.unencodable.put({a.oid: "no tree", b.oid: "no tree"})
    index.unencodable.drop([a.oid])
    assert index.unencodable.all() == {b.oid: "no tree"}
    index.unencodable.drop()
    assert index.unencodable.all() == {}
    index.meta.set("feed", "x")
    index.meta.set("feed", "y")
    assert index.meta.get("feed") == "y"
    index.meta.set("feed", None)
    assert index.meta.get("feed") is None


def test_what_was_committed_is_there_after_a_new_start(tmp_path, packs):
    pack = packs.make(1)
    with Index(tmp_path / "node.db") as index:
        index.packs.put_local([pack.local(0)])
        row = index.packs.get(pack.oid)
    with Index(tmp_path / "node.db") as index:
        assert index.packs.get(pack.oid) == row


def test_another_process_may_read_beside_the_node(index, packs):
    pack = packs.make(1)
    with Index(index.path, read_only=True) as reader:
        assert reader.packs.count() == 0
        index.packs.put_local([pack.local(0)])
        assert reader.packs.count() == 1
        assert reader.packs.get(pack.oid) == index.packs.get(pack.oid)
        with pytest.raises(IndexUnusable):
            reader.meta.set("a", "b")


def test_signoffs_stay_with_their_packs(index, packs):
    a, b, c = packs.chain(3)
    index.packs.put_local(pack.local(n) for n, pack in enumerate((a, b, c)))
    index.signoffs.add([SignOff(a.oid, "1.asc", "catalogue 3", 5), SignOff(b.oid, "1.asc", "catalogue 3", 5)])
    assert index.signoffs.get(a.oid) == (a.oid, "1.asc", "catalogue 3", 5)
    assert index.signoffs.get(c.oid) is None
    index.signoffs.add([SignOff(a.oid, "2.asc", "catalogue 3", 6)])
    assert index.signoffs.get(a.oid) == (a.oid, "2.asc", "catalogue 3", 6)
    assert set(index.signoffs.oids()) == {a.oid, b.oid}
    index.packs.drop([a.oid])
    index.packs.put_local([a.local(0)])
    assert index.signoffs.get(a.oid) is None
    assert index.signoffs.oids() == [b.oid]


def test_what_an_older_index_has_of_signoffs_is_read_and_kept(tmp_path, packs):
    path, made = tmp_path / "node.db", packs.chain(3)
    with Index(path) as index:
        index.packs.put_local(pack.local(n) for n, pack in enumerate(made))
    old = [SignOff(pack.oid, "1.asc", "catalogue 3", 5) for pack in made[:2]]
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE signed")
        db.execute("DROP TABLE signed_batches")
        db.executemany("INSERT INTO signoffs VALUES (?, ?, ?, ?)", old)
        db.commit()
    for read_only in (True, False, True):
        with Index(path, read_only=read_only) as index:
            assert [index.signoffs.get(pack.oid) for pack in made] == [*old, None]
            assert set(index.signoffs.oids()) == {signoff.oid for signoff in old}
            assert index.check() == []


def test_what_an_older_program_signed_off_since_counts(tmp_path, packs):
    path, made = tmp_path / "node.db", packs.chain(2)
    with Index(path) as index:
        index.packs.put_local(pack.local(n) for n, pack in enumerate(made))
        index.signoffs.add([SignOff(pack.oid, "1.asc", "catalogue 3", 5) for pack in made])
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO signoffs VALUES (?, '2.asc', 'catalogue 4', 6)", (made[0].oid,))
        db.commit()
    with Index(path) as index:
        assert [index.signoffs.get(pack.oid)[1] for pack in made] == ["2.asc", "1.asc"]


def test_what_an_older_index_remembered_of_signers_is_found_again(tmp_path, packs):
    path = tmp_path / "node.db"
    Index(path).close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE signatures")
        db.execute("CREATE TABLE signers (oid BLOB PRIMARY KEY, signer TEXT NOT NULL, keyring BLOB NOT NULL)")
        db.execute("INSERT INTO signers VALUES (?, 'A', ?)", (packs.make(1).oid, b"k" * 32))
    db.close()
    with Index(path) as index:
        assert index.signers.of([packs.make(1).oid]) == {}
    with sqlite3.connect(path) as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'signers'").fetchall()
    db.close()


@pytest.mark.parametrize("damage", ["garbage", "schema", "newer", "foreign"])
def test_a_damaged_or_foreign_index_says_what_to_do(tmp_path, packs, damage):
    path = tmp_path / "node.db"
    with Index(path) as index:
        index.packs.put_local(pack.local(0) for pack in packs.chain(20))
    if damage == "garbage":
        path.write_bytes(b"no database at all" * 500)
    elif damage == "schema":
        data = bytearray(path.read_bytes())
        data[100:4096] = b"\xff" * 3996
        path.write_bytes(data)
    else:
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {99 if damage == 'newer' else 0}")
        db.close()
    with pytest.raises(IndexCorrupt, match="gtfs fsck --rebuild"):
        Index(path)


def test_damage_that_is_met_later_is_named_too(tmp_path, packs):
    path = tmp_path / "node.db"
    made = packs.chain(400)
    Index(path).close()
    start = path.stat().st_size  # behind the schema
    with Index(path) as index:
        index.packs.put_local(pack.local(0) for pack in made)
    data = bytearray(path.read_bytes())
    data[start:] = b"\xa5" * (len(data) - start)
    path.write_bytes(data)
    with Index(path) as index, pytest.raises(IndexCorrupt):
        for pack in made:
            index.packs.get(pack.oid)


def test_a_second_writer_is_told_that_the_index_is_held(index, monkeypatch):
    monkeypatch.setattr("gtfs.reel.database.BUSY_TIMEOUT_S", 0.05)
    with Index(index.path) as other, index.transaction(), pytest.raises(IndexBusy) as caught:
        other.meta.set("a", "b")
    assert caught.value.exit_code == 6


def test_an_index_that_is_closed_or_cannot_be_opened_says_so(tmp_path):
    with pytest.raises(IndexUnusable, match="unable to open"):
        Index(tmp_path / "no" / "node.db")
    with pytest.raises(IndexUnusable):
        Index(tmp_path / "absent.db", read_only=True)
    index = Index(tmp_path / "node.db")
    index.packs.count()
    index.close()
    index.close()
    with pytest.raises(IndexUnusable, match="closed"):
        index.packs.get(b"\0" * 20)
    with pytest.raises(IndexUnusable, match="closed"):
        index.meta.set("a", "b")


def test_an_index_from_when_packs_had_one_state_more_is_used_as_it_is(tmp_path, packs):
    path = tmp_path / "node.db"
    Index(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        wider = ("'waiting'", "'fetching', 'waiting'")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = 'packs'", wider)
        db.execute("CREATE TABLE verdicts (oid BLOB PRIMARY KEY) STRICT")
    db.close()
    with Index(path) as index:
        index.packs.put_local([packs.make(1).local(0)])
        assert index.packs.count_by_stage() == {"unpacked": 1}
        assert index.check() == []
    with sqlite3.connect(path) as db:
        (schema,) = db.execute("SELECT group_concat(sql) FROM sqlite_master").fetchone()
        assert "fetching', 'waiting'" in schema and "verdicts" not in schema
    db.close()


def test_a_disk_error_asks_whether_the_disk_is_full(index, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE  # what a full disk gives where WAL is opened
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("gtfs.reel.database.sqlite3.connect", fail)
        with pytest.raises(IndexUnusable, match=r"disk I/O error: is the disk full \(df\)"):
            Index(index.path)


def test_no_statement_over_many_packs_reads_all_rows(index, packs):
    made = packs.chain(40)
    reel_id = index.reels.put(NAME, HASH, 100_000, 40, 1, "complete")
    said = []
    with index.transaction() as db:
        db.set_trace_callback(said.append)
        index.packs.put_reel_rows(reel_id, table_of(made), 5)
        index.packs.put_local(pack.local(None) for pack in made)
        index.packs.set_kind_time(SeenPack(pack.oid, 1, 7, (made[0].oid,)) for pack in made)
        index.packs.set_stage([pack.oid for pack in made], "verified")
        index.packs.move_to_reel(reel_id, ((pack.oid, n) for n, pack in enumerate(made)))
        index.packs.drop([made[-1].oid])
        db.set_trace_callback(None)
        for sql in said:
            if sql.startswith(("WITH", "UPDATE", "INSERT", "DELETE FROM pa")):
                plan = [step for *_, step in db.execute("EXPLAIN QUERY PLAN " + sql)]
                assert not [step for step in plan if step.startswith(("SCAN packs", "SCAN p ", "SCAN parents"))], sql
    assert len(said) > 6
    row = index.packs.get(made[3].oid)
    assert (row.kind, row.time_s, row.stage, row.reel, row.offset) == (1, 7, "verified", reel_id, 3)
    assert index.history.parents_of(made[3].oid) == sorted({made[0].oid, *made[3].parents})
    assert index.packs.get(made[-1].oid) is None


def descriptors(path):
    found = []
    for entry in os.scandir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(entry.path))
    return [name for name in found if name.startswith(str(path))]


def test_an_index_that_nobody_used_has_nothing_open_and_the_next_use_opens_it(index, tmp_path):
    index.meta.set("a", "1")
    assert descriptors(tmp_path)
    assert not index.rest()  # used since the last time
    assert index.rest() and not descriptors(tmp_path)
    assert not index.rest()
    assert index.meta.get("a") == "1"
    with index.transaction():
        assert not index.rest()
        index.meta.set("a", "2")
    assert index.meta.get("a") == "2"
    index.rest()
    assert index.rest()
    with index.transaction() as db:
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL, as at first


def test_packs_beyond_four_gib_of_a_reel_have_their_place(index):
    sizes = [3 << 30, 5 << 30, 44]
    offsets = [0, 3 << 30, 8 << 30]
    packs = [
        ReelPack(bytes([n]) * 20, size, bytes(32), at) for n, (size, at) in enumerate(zip(sizes, offsets, strict=True))
    ]
    size = sum(sizes) + 500
    reel = index.reels.put("a" * 64, bytes(20), size, len(packs), 1, "complete")
    index.packs.put_reel_rows(reel, packs, 0)
    assert [(row.offset, row.size) for row in index.packs.reel_rows(reel)] == list(zip(offsets, sizes, strict=True))
    assert [row.offset for row in index.packs.reel_rows_between(reel, 4 << 30, size)] == [8 << 30]
    assert index.packs.total_bytes() == sum(sizes)
