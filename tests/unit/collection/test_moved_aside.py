# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import combinations
from pathlib import Path

from gtfs.collection.places import moved_aside
from gtfs.collection.wanted import check_name

TOP = Path("/srv/mirrors")


def test_each_mirror_that_is_moved_aside_has_a_place_of_its_own_that_a_disk_takes() -> None:
    long = "/".join(["\N{LATIN SMALL LETTER E WITH ACUTE}" * 90] * 5)
    names = ["a/b", "a+b", "a/b+c", "a+b/c", "a/b/c", long, long + "x"]
    places = [moved_aside(TOP, check_name(name), 7) for name in names]
    assert places[0] == TOP / ".gone" / "a+b-7"
    assert all(one != other for one, other in combinations(places, 2))
    assert all(place.parent == TOP / ".gone" and len(place.name.encode()) <= 255 for place in places)
