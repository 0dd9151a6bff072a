# SPDX-License-Identifier: GPL-3.0-or-later
"""`gtfs fsck --due`: each byte within four weeks, beside a running node, and what is damaged is known from then on."""

from __future__ import annotations

import os
import random
from itertools import pairwise
from pathlib import Path

import pytest
from house import House
from waiting import wait_for

from gtfs.repo.repository import open_repository
from gtfs.state.checkdue import DAYS, check_due, read_marks
from gtfs.state.state import State

DAY_S = 24 * 3600
START_S = 1_900_000_000


@pytest.fixture
def many(house: House, pub: Path) -> Path:
    """A publisher of several reels."""
    for number in range(4):
        house.commit(pub, f"more {number}", {f"f{number}": random.Random(number).randbytes(600_000)})
        house.gtfs("publish", pub)
    return pub


def days_read(pub: Path, days: range) -> dict[str, list[int]]:
    """On which days each reel is read, by a run each day."""
    with State(open_repository(pub)) as state:
        names = [reel.name for reel in state.index.reels.all() if reel.is_whole]
        seen: dict[str, list[int]] = {name: [] for name in names}
        for day in days:
            now_s = START_S + day * DAY_S
            check_due(state, lambda: False, lambda done, total: None, now_s)
            for name, mark in read_marks(state.layout).items():
                if mark.read_s == now_s:
                    seen[name].append(day)
    return seen


def test_each_reel_is_read_within_four_weeks_for_ever(many: Path) -> None:
    seen = days_read(many, range(1, 100))
    assert len(seen) >= 2
    for days in seen.values():
        gaps = [b - a for a, b in pairwise([0, *days, 99])]
        assert max(gaps) <= DAYS, seen


def test_a_day_reads_a_part_and_not_all(many: Path) -> None:
    seen = days_read(many, range(1, 60))
    by_day: dict[int, int] = {}
    for days in seen.values():
        for day in days:
            by_day[day] = by_day.get(day, 0) + 1
    late = {day: count for day, count in by_day.items() if day > 28}
    assert max(late.values()) < len(seen), (seen, by_day)


@pytest.mark.parametrize("runs", [True, False])
def test_damage_is_found_told_and_kept_in_the_status(house: House, pub: Path, runs: bool) -> None:
    if runs:
        house.mount(pub, "A", "offline", expected=["damaged", "piece"])
    assert "all well" in house.gtfs("fsck", "--due", pub).out
    (reel,) = (pub / "gtfs" / "reels").glob("*.reel")
    data = bytearray(reel.read_bytes())
    data[1000] ^= 1
    reel.write_bytes(data)
    os.utime(reel, (1_000_000_000, 1_000_000_000))  # as if it had not been read for years
    done = house.gtfs("fsck", "--due", pub, code=1)
    assert "is damaged" in done.err
    name = reel.name.removesuffix(".reel")
    status = house.gtfs("status", "--json", pub).json()
    assert "is damaged" in status["damaged"][name]
    data[1000] ^= 1
    reel.write_bytes(data)
    assert "all well" in house.gtfs("fsck", "--due", pub).out
    wait_for(lambda: house.gtfs("status", "--json", pub).json()["damaged"] == {}, "it is well again")


def test_several_repositories_are_checked_and_one_that_is_none_is_named(house: House, pub: Path) -> None:
    done = house.gtfs("fsck", "--due", pub, house.root / "nothing", "--json", code=3)
    assert [each["repository"] for each in done.json()["checked"]] == [str(pub)]
    assert "nothing" in done.line


def test_without_a_repository_those_of_the_configuration_are_checked(house: House, pub: Path) -> None:
    places = {"CONFIGURATION_DIRECTORY": str(house.root / "etc"), "STATE_DIRECTORY": str(house.root / "var")}
    (house.root / "etc").mkdir()
    (house.root / "etc" / "gtfs.conf").write_text(f'[repository "one"]\n\tpath = {pub}\n')
    done = house.gtfs("fsck", "--due", env={**places, "RUNTIME_DIRECTORY": str(house.root / "run")})
    assert done.out.startswith(f"{pub}: ")
