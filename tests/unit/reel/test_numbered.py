# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random

import pytest
from ordering import canonical_order

from gtfs.reel.numbered import Numbered
from gtfs.reel.order import Item


def oid(number):
    return bytes([number]) * 20


@pytest.mark.parametrize("seed", range(20))
def test_what_tips_reach_comes_in_the_canonical_order_of_these_alone(seed):
    chance = random.Random(seed)
    parents = {n: {chance.randrange(n) for _ in range(chance.randint(0, 2))} if n else set() for n in range(40)}
    places = list(parents)
    chance.shuffle(places)  # the rows: a parent's may come after its child's
    times = {n: chance.randint(-3, 3) for n in parents}
    packs = Numbered(20)
    for row, n in enumerate(places):
        packs.add(10 * row, oid(n), times[n])
    packs.add_parents((10 * places.index(p), 10 * row) for row, n in enumerate(places) for p in sorted(parents[n]))
    packs.add_parents([(5, 10), (10, 5)])  # of no pack that was added
    tips = chance.sample(sorted(parents), 2)
    todo, wanted = list(tips), set()
    while todo:
        if (n := todo.pop()) not in wanted:
            wanted.add(n)
            todo += parents[n]
    order = packs.order()
    reached = packs.reached(order, [*map(oid, tips), oid(99)])
    expected = canonical_order(Item(oid(n), times[n], [oid(p) for p in parents[n]]) for n in wanted)
    assert [packs.oid(n) for n in order if reached[n]] == [item.oid for item in expected]
