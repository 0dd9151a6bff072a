# SPDX-License-Identifier: GPL-3.0-or-later
"""What a delta says it copies from its base. A hint for who compares the two anyway; nothing is applied. Any thread."""

from __future__ import annotations

from typing import NamedTuple


class Copy(NamedTuple):
    """``size`` bytes at ``base_at`` of the base that stand at ``at`` of what the delta makes."""

    at: int
    base_at: int
    size: int


def read_copies(delta: bytes, most: int) -> list[Copy] | None:
    """The copies in the order of the delta, those that go on where the one before ends as one.

    None where the delta has more than ``most`` instructions or cannot be read. Sizes are not held against each other.
    """
    copies: list[Copy] = []
    at = base_end = 0
    try:
        pos = _after_number(delta, _after_number(delta, 0))
        while pos < len(delta):
            most -= 1
            if most < 0:
                return None
            code = delta[pos]
            pos += 1
            if not code & 0x80:
                at += code
                pos += code
                continue
            base_at = size = 0
            for i in range(4):
                if code & 1 << i:
                    base_at |= delta[pos] << 8 * i
                    pos += 1
            for i in range(3):
                if code & 0x10 << i:
                    size |= delta[pos] << 8 * i
                    pos += 1
            size = size or 0x10000
            if copies and base_at == base_end and copies[-1].at + copies[-1].size == at:
                copies[-1] = Copy(copies[-1].at, copies[-1].base_at, copies[-1].size + size)
            else:
                copies.append(Copy(at, base_at, size))
            at += size
            base_end = base_at + size
    except IndexError:
        return None
    return copies


def _after_number(delta: bytes, pos: int) -> int:
    """Where the variable-length number at ``pos`` ends."""
    while delta[pos] & 0x80:
        pos += 1
    return pos + 1
