# SPDX-License-Identifier: GPL-3.0-or-later
"""What is offered from repositories that a daemon runs (design.md §12) runs beside them. Any thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gtfs.collection.wanted import WantedRepository
from gtfs.errors import GtfsError
from gtfs.layout import Layout, fork_of
from gtfs.repo.place import git_dir_at


def with_forks(wanted: Iterable[WantedRepository]) -> list[WantedRepository]:
    """Each, and beside it what is offered from there (design.md §12), if anything was; blocking."""
    found = []
    for one in wanted:
        found.append(one)
        try:
            fork = fork_of(git_dir_at(one.directory))
            is_published = fork.is_dir() and Layout.in_repository(fork).latest.exists()
        except (GtfsError, OSError):  # that is for whoever opens the repository
            continue
        if is_published:
            name = f"{one.name}/{fork.stem}"
            found.append(replace(one, name=name, source=str(fork), directory=fork, repository=None))
    return found
