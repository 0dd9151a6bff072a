# SPDX-License-Identifier: GPL-3.0-or-later
"""The canonical order of items, for tests that have no index."""

from __future__ import annotations

from collections.abc import Iterable

from gtfs.reel.order import Item, Pairs, clamp_time_s, order_numbers


def canonical_order(items: Iterable[Item]) -> list[Item]:
    """The items in that order; parents that are not among them do not count."""
    found = list(items)
    number_of = {item.oid: number for number, item in enumerate(found)}
    pairs = Pairs()
    for number, item in enumerate(found):
        for parent in set(item.parents) & number_of.keys():
            pairs.add(number_of[parent], number)
    order = order_numbers(len(found), lambda number: (clamp_time_s(found[number].time_s), found[number].oid), pairs)
    return [found[number] for number in order]
