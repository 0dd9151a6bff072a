# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packs become one."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gtfs.repo.upkeep import choose


def left(sizes):
    count = choose(sizes)
    return sorted([*sizes[count:], sum(sizes[:count])]) if count else sizes


@given(st.lists(st.integers(1, 1 << 40), max_size=80).map(sorted))
def test_each_pack_that_is_left_has_twice_the_size_of_the_next_smaller(sizes):
    after = left(sizes)
    assert sum(after) == sum(sizes)
    assert all(large >= 2 * small for small, large in pairwise(after))
    assert choose(after) == 0


@given(st.lists(st.integers(1, 1 << 40), max_size=80).map(sorted))
def test_a_byte_goes_into_a_pack_at_least_half_as_large_again(sizes):
    count = choose(sizes)
    assert count != 1
    assert all(2 * sum(sizes[:count]) >= 3 * size for size in sizes[:count])


def test_ten_thousand_packs_of_one_size_write_each_byte_a_few_times():
    sizes: list[int] = []
    written = 0
    for _ in range(10_000):
        sizes = sorted([*sizes, 1000])
        if len(sizes) > 50:
            written += sum(sizes[: choose(sizes)])
            sizes = left(sizes)
        assert len(sizes) <= 50
    assert written / sum(sizes) < 6


def test_packs_in_progression_stay():
    assert choose([]) == choose([5]) == choose([1, 2, 4, 100]) == 0
    assert choose([1, 1, 100]) == 2
    assert choose([3, 4, 7, 100]) == 3
