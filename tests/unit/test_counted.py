# SPDX-License-Identifier: GPL-3.0-or-later
"""One thing is said as one."""

from __future__ import annotations

from gtfs.counted import counted


def test_numbers_of_things_are_said_as_people_say_them() -> None:
    assert [counted(n, "pack") for n in (0, 1, 2)] == ["0 packs", "1 pack", "2 packs"]
    assert [counted(n, "repository") for n in (1, 2)] == ["1 repository", "2 repositories"]
    assert [counted(n, "ref stays", "refs stay") for n in (1, 2)] == ["1 ref stays", "2 refs stay"]
