# SPDX-License-Identifier: GPL-3.0-or-later
"""What a crash left of steps 1 to 7 of design.md §8. At start, under the node's lock."""

from __future__ import annotations

from gtfs.repo.moving import sweep_moving
from gtfs.repo.repository import Repository
from gtfs.repo.unpack import sweep_unpacking
from gtfs.repo.upkeep import sweep_repacking


def sweep(repository: Repository) -> None:
    """Drop what a crash left of steps 1 to 7 (design.md §8)."""
    sweep_unpacking(repository)
    sweep_repacking(repository)
    sweep_moving(repository)
    for leftover in repository.layout.batches():
        leftover.unlink()
