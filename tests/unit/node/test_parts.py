# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a reel is let in at once while it comes."""

from __future__ import annotations

import pytest

from gtfs.node.sync import _LAST_PART_BYTES, _PARTS, _part_bytes


@pytest.mark.parametrize("size", [1 << 20, 70 << 20, 1 << 30])
def test_a_reel_is_let_in_in_few_parts_and_the_last_ones_are_small(size: int) -> None:
    parts = []
    here = 0
    while here < size:
        at = here
        while at < size and at - here < _part_bytes(size, size - at):
            at += 64 << 10
        parts.append(at - here)
        here = at
    assert len(parts) <= 3 * _PARTS
    assert parts[-1] <= _LAST_PART_BYTES
