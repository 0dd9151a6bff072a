# SPDX-License-Identifier: GPL-3.0-or-later
"""What is offered from repositories that a daemon runs (design.md §12) runs beside them. Any thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gtfs.collection.wanted import WantedRepository
from gtfs.errors import GtfsError
from gtfs.layout import Layout, fork_of
from gtfs.repo.place import git_dir_at


def find_forks(wanted: Iterable[WantedRepository]) -> list[WantedRepository]:
    """What is offered from each of these, if anything is; blocking."""
    found = []
    for one in wanted:
        try:
            fork = fork_of(git_dir_at(one.directory))
            is_published = fork.is_dir() and Layout.in_repository(fork).latest.exists()
        except (GtfsError, OSError):  # that is for whoever opens the repository
            continue
        if is_published:
            name = f"{one.name}/{fork.stem}"
            found.append(replace(one, name=name, source=str(fork), directory=fork, repository=None))
    return found
