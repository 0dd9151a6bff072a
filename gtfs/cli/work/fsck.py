# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs fsck``: whether a node's files, index, catalogue and git agree."""

from __future__ import annotations

from pathlib import Path

from gtfs.catalogue.store import CatalogueStore
from gtfs.cli.ask import repository_of_mount
from gtfs.cli.terminal import bar, complain, say, size_text
from gtfs.reel.recover import Listed
from gtfs.repo.repository import Repository, open_repository
from gtfs.state.compare import compare
from gtfs.state.fsck import check, notes, rebuild
from gtfs.state.lock import Lock
from gtfs.state.private import ReadOnly, is_read_only, make_private
from gtfs.state.state import State


def run(repo: Path, again: bool, against: Path | None) -> int:
    """Check, with a line on stderr for all that is found."""
    repository = open_repository(repository_of_mount(repo) or repo)
    other = None if against is None else open_repository(against)
    found = 0
    if again:
        found += _rebuild(repository)
    with State(repository, may_be_read_only=True) as state:
        with bar("checking") as show:
            for line in check(state, lambda done, total: show(done, total, size_text(total))):
                complain(line)  # above the bar
                found += 1
            compared = () if other is None else compare(repository, other, lambda n: show(0, 0, f"{n} objects"))
            for line in compared:
                complain(line)
                found += 1
        for line in notes(state):
            say(f"note: {line}")
        if not found:
            say(f"{repo}: {state.index.packs.count()} packs, all well")
    return 1 if found else 0


def _rebuild(repository: Repository) -> int:
    if is_read_only(repository.state_directory):
        raise ReadOnly(repository.state_directory)
    make_private(repository.state_directory)
    with Lock(repository.layout.lock), bar("rebuilding") as show:
        held = CatalogueStore(repository.layout.catalogue).highest()
        listed = {}
        if held is not None:
            c = held.catalogue
            listed = {str(e.name): Listed(e.infohash, e.size, e.rows, c.version) for e in c.reels}
        total = sum(f.stat().st_size for f in repository.state_directory.rglob("*.reel"))
        done = [0]

        def progress(count: int) -> None:
            done[0] += count
            show(done[0], total, size_text(done[0]))

        result = rebuild(repository, listed, progress)
    for line in result.problems:
        complain(line)
    say(f"index made anew: {result.packs} packs, {result.reels} reels; the old one is node.db.old")
    return len(result.problems)
