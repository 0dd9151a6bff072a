# SPDX-License-Identifier: GPL-3.0-or-later
"""What fails again and again is tried less and less often."""

from __future__ import annotations

from gtfs.backoff import Backoff


def test_each_rest_is_twice_the_one_before_up_to_the_longest_until_it_went_well() -> None:
    rests = Backoff(10, 100)
    assert [rests.next_s() for _ in range(6)] == [10, 20, 40, 80, 100, 100]
    rests.is_over()
    assert [rests.next_s() for _ in range(2)] == [10, 20]
