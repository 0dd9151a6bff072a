# SPDX-License-Identifier: GPL-3.0-or-later
"""Which reels are merged: few stay, none is copied often, final ones never, and mirrors find the same runs."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtfs.pack.limits import KIB, MIB
from gtfs.reel.compaction import MERGED, ReelSize, adding_up, merged_size, plan, size_class
from gtfs.reel.order import FINAL_REEL_BYTES
from gtfs.reel.table import FOOTER_BYTES

CLASSES = size_class(FINAL_REEL_BYTES)  # and 0

SIZES = st.one_of(
    st.integers(200, 64 * KIB), st.integers(200, 4 * MIB), st.integers(200, 2 * FINAL_REEL_BYTES),
    st.sampled_from([64 * KIB, 64 * KIB + 1, 512 * KIB, FINAL_REEL_BYTES, FINAL_REEL_BYTES - 1]),
)  # fmt: skip


def after(sizes: list[int]) -> list[int]:
    return [merged_size([sizes[i] for i in group]) for group in plan(sizes)]


@pytest.mark.parametrize(
    ("size", "found"),
    [(1, 0), (64 * KIB, 0), (64 * KIB + 1, 1), (512 * KIB, 1), (4 * MIB, 2), (32 * MIB, 3), (32 * MIB + 1, 4),
     (256 * MIB, 4)],
)  # fmt: skip
def test_classes_are_powers_of_8_from_64_kib(size: int, found: int) -> None:
    assert size_class(size) == found


def test_seven_neighbours_stay_and_eight_are_merged() -> None:
    assert plan([1000] * 7) == [range(i, i + 1) for i in range(7)]
    assert plan([1000] * 8) == [range(8)]
    assert plan([100 * KIB, *[1000] * 8, 1000]) == [range(1), range(1, 9), range(9, 10)]


def test_a_merged_reel_may_be_the_eighth_of_its_class_and_is_merged_on() -> None:
    assert plan([*[100 * KIB] * 7, *[60 * KIB] * 8]) == [range(15)]


def test_a_small_reel_between_larger_ones_goes_with_them() -> None:
    alternating = [1000, 100 * KIB] * 40
    assert len(after(alternating)) <= 7 * 2


@given(st.lists(SIZES, max_size=80))
def test_groups_are_all_reels_in_order_once(sizes: list[int]) -> None:
    assert [i for group in plan(sizes) for i in group] == list(range(len(sizes)))


@given(st.lists(SIZES, max_size=80))
def test_final_reels_are_never_merged(sizes: list[int]) -> None:
    for group in plan(sizes):
        assert len(group) == 1 or len(group) >= MERGED
        if len(group) > 1:
            assert all(sizes[i] < FINAL_REEL_BYTES for i in group)


@given(st.lists(SIZES, max_size=120))
def test_nothing_is_left_to_merge(sizes: list[int]) -> None:
    left = after(sizes)
    assert after(left) == left
    stretch: list[int] = []
    for size in [*left, FINAL_REEL_BYTES]:
        if size < FINAL_REEL_BYTES:
            stretch.append(size_class(size))
            continue
        assert len(stretch) <= 7 * (CLASSES + 1)
        for at, own in enumerate(stretch):
            same = [later for later in stretch[at:] if later == own]
            assert len(same) <= 7 or max(stretch[at:]) > own
        stretch = []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(300, 2000), (300, 200 * KIB), (100 * KIB, 30 * MIB)]))
def test_publishing_again_and_again_leaves_few_reels_and_copies_little(seed: int, bounds: tuple[int, int]) -> None:
    """As a publisher does it: only what the catalogue before lists is merged, the new reel stands last."""
    rng = random.Random(seed)
    live: list[int] = []
    published = copied = most = 0
    for n in range(1, 1500):
        groups = plan(live)
        copied += sum(merged_size([live[i] for i in group]) for group in groups if len(group) > 1)
        live = [merged_size([live[i] for i in group]) for group in groups]
        new = math.floor(math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1]))))
        live.append(new)
        published += new
        final = sum(size >= FINAL_REEL_BYTES for size in live)
        assert len(live) - final <= 7 * (CLASSES + 1) * (final + 1) + 1
        most = max(most, len(live) - final)
        assert n >= 8 or len(live) == n
    assert most <= 7 * (CLASSES + 1) + 1
    # A byte is copied some times in each class that it goes through.
    assert copied <= published * 3 * (CLASSES + 1)


@given(st.lists(st.builds(ReelSize, st.integers(100, 10**6), st.integers(1, 50)), min_size=2, max_size=40), st.data())
def test_a_mirror_finds_the_run_that_was_merged(reels: list[ReelSize], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(reels) - 2))
    end = data.draw(st.integers(first + 2, len(reels)))
    run = reels[first:end]
    wanted = ReelSize(merged_size([r.size for r in run]), sum(r.rows for r in run))
    found = list(adding_up(reels, wanted))
    assert range(first, end) in found
    for other in found:
        assert sum(reels[i].rows for i in other) == wanted.rows
        assert sum(reels[i].size - FOOTER_BYTES for i in other) + FOOTER_BYTES == wanted.size


def test_one_reel_is_no_run() -> None:
    assert list(adding_up([ReelSize(500, 3), ReelSize(700, 2)], ReelSize(500, 3))) == []
