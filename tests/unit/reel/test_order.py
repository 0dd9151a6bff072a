# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ordering import canonical_order

from gtfs.reel.order import FINAL_REEL_BYTES, Item, cut


def oid(number):
    return number.to_bytes(20, "big")


@st.composite
def histories(draw):
    """Items whose parents have smaller numbers; times and ids say nothing about who is whose parent."""
    length = draw(st.integers(0, 25))
    ids = draw(st.permutations(range(length)))
    items = []
    for n in range(length):
        parents = draw(st.lists(st.integers(0, n - 1), max_size=3)) if n else []
        items.append(Item(oid(ids[n]), draw(st.integers(-3, 3)), [oid(ids[p]) for p in parents]))
    return items


@given(histories())
def test_parents_come_before_children_and_nobody_is_lost(items):
    ordered = canonical_order(items)
    place = {item.oid: n for n, item in enumerate(ordered)}
    assert place.keys() == {item.oid for item in items}
    assert all(place[parent] < place[item.oid] for item in items for parent in item.parents)


@given(histories(), st.randoms())
def test_the_order_does_not_depend_on_the_order_of_arrival(items, rng):
    shuffled = items[:]
    rng.shuffle(shuffled)
    assert canonical_order(items) == canonical_order(shuffled)


@given(histories())
def test_at_each_step_the_least_time_and_id_among_the_ready_comes_first(items):
    placed = set()
    left = list(items)
    for item in canonical_order(items):
        ready = [i for i in left if all(p in placed for p in i.parents)]
        assert item == min(ready, key=lambda i: (i.time_s, i.oid))
        placed.add(item.oid)
        left.remove(item)


def test_parents_outside_of_the_set_and_named_twice_do_not_hold_anything_up():
    a = Item(oid(2), 9, [oid(99), oid(99)])
    b = Item(oid(1), 1, [a.oid, a.oid])
    assert canonical_order([b, a]) == [a, b]


def test_times_beyond_64_bits_count_as_the_last_second():
    a, b = Item(oid(1), 1 << 80, []), Item(oid(2), (1 << 63) - 1, [])
    assert canonical_order([b, a]) == [a, b]


def test_a_cycle_is_a_bug():
    with pytest.raises(ValueError, match="cycle"):
        canonical_order([Item(oid(1), 0, [oid(2)]), Item(oid(2), 0, [oid(1)])])


def test_a_long_line_of_history_does_not_recurse():
    line = [Item(oid(n), 0, [oid(n - 1)] if n else []) for n in range(50_000)]
    random.Random(1).shuffle(line)
    assert canonical_order(line)[-1].oid == oid(49_999)


@given(st.lists(st.integers(1, 50)), st.integers(1, 100))
def test_a_reel_is_closed_as_soon_as_it_reaches_the_limit(lengths, limit):
    groups = list(cut(lengths, int, limit))
    assert [n for group in groups for n in group] == lengths
    assert all(groups)
    assert all(sum(group[:-1]) < limit for group in groups)
    assert all(sum(group) >= limit for group in groups[:-1])


def test_reels_are_cut_at_256_mib():
    assert FINAL_REEL_BYTES == 1 << 28
    assert list(cut([1 << 28, 1], int)) == [[1 << 28], [1]]
