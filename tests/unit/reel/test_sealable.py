# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random

import pytest
from ordering import canonical_order

from gtfs.ids import SHA1
from gtfs.reel import sealable
from gtfs.reel.index import Index, LocalPack
from gtfs.reel.order import Item, cut
from gtfs.reel.sealable import Sealable


@pytest.fixture
def index(tmp_path):
    with Index(tmp_path / "node.db") as index:
        yield index
        assert index.check() == []


def oid(number):
    return bytes([number]) * 20


def history(chance, commits):
    """A tangle, in an order in which no parent needs to come first."""
    items = [
        Item(
            oid(n), chance.randint(-3, 3), {oid(chance.randrange(n)) for _ in range(chance.randint(0, 3))} if n else ()
        )
        for n in range(commits)
    ]
    chance.shuffle(items)
    return items


def put(index, items):
    at = 0
    for number, item in enumerate(items):
        size = 100 + number
        pack = LocalPack(item.oid, 1, item.time_s, size, item.oid[:1] * 32, at, tuple(item.parents), "verified")
        index.packs.put_local([pack])
        at += size


def sealed(index, tmp_path, wanted, **limit):
    (tmp_path / "open.reel").touch()  # what is in it is not read here
    return list(map(list, Sealable(index, tmp_path / "open.reel", wanted, SHA1.oid_bytes).reels(**limit)))


@pytest.mark.parametrize("at_once", [1, 3, 1000])
@pytest.mark.parametrize("seed", range(10))
def test_the_packs_of_the_open_reel_come_in_canonical_order_cut_where_any_are(
    index, tmp_path, monkeypatch, at_once, seed
):
    monkeypatch.setattr(sealable, "_ROWS", at_once)
    chance = random.Random(seed)
    items = history(chance, 30)
    put(index, items)
    sizes = {item.oid: 100 + number for number, item in enumerate(items)}
    wanted = {item.oid for item in items if chance.random() < 0.8}
    expected = cut([i.oid for i in canonical_order(i for i in items if i.oid in wanted)], sizes.__getitem__, 1000)
    found = sealed(index, tmp_path, wanted, limit_bytes=1000)
    assert [[pack.oid for pack in reel] for reel in found] == list(expected)
    assert all((pack.length, pack.digest) == (sizes[pack.oid], pack.oid[:1] * 32) for reel in found for pack in reel)


def test_what_is_not_verified_or_lies_elsewhere_is_not_sealed(index, tmp_path, packs):
    a, b, c, d = packs.chain(4)
    index.packs.put_local([a.local(0), b.local(1000, "verified"), c.local(2000, "refused"), d.local(None, "waiting")])
    ids = {pack.oid for pack in (a, b, c, d)}
    assert [[pack.oid for pack in reel] for reel in sealed(index, tmp_path, ids)] == [[a.oid, b.oid]]
    reel = index.reels.put("ab" * 32, b"7" * 20, 5000, 1, 1, "complete")
    index.packs.move_to_reel(reel, [(a.oid, 0)])
    assert [[pack.oid for pack in reel] for reel in sealed(index, tmp_path, ids)] == [[b.oid]]
    assert sealed(index, tmp_path, ()) == []


def test_the_bytes_are_those_of_the_open_reel(index, tmp_path, packs):
    made = packs.chain(2)
    (tmp_path / "open.reel").write_bytes(b"".join(pack.data for pack in made))
    index.packs.put_local([made[0].local(0), made[1].local(len(made[0].data))])
    wanted = {pack.oid for pack in made}
    read = [
        [b"".join(pack.read()) for pack in reel]
        for reel in Sealable(index, tmp_path / "open.reel", wanted, SHA1.oid_bytes).reels()
    ]
    assert read == [[pack.data for pack in made]]
