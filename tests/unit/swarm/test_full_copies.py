# SPDX-License-Identifier: GPL-3.0-or-later
"""Who was seen to have everything."""

from __future__ import annotations

from gtfs.swarm.copies import KEPT_S, Copies

A, B = b"-gt0100-aaaaaaaaaaaa", b"-gt0100-bbbbbbbbbbbb"


def test_a_complete_peer_counts_once_and_for_a_day_after_it_was_seen_last() -> None:
    now_s = [0.0]
    copies = Copies(lambda: now_s[0])
    copies.meet([A, B])
    now_s[0] = 10.0
    copies.meet([A])
    assert copies.count() == 2
    now_s[0] = KEPT_S + 1
    assert copies.count() == 1
    now_s[0] = KEPT_S + 11
    assert copies.count() == 0


def test_a_peer_that_comes_with_many_names_does_not_fill_the_memory() -> None:
    copies = Copies(lambda: 0.0)
    copies.meet(b"%020d" % n for n in range(5000))
    assert copies.count() == 1000
