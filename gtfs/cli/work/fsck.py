# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs fsck``: whether a node's files, index, catalogue and git agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.catalogue.store import CatalogueStore
from gtfs.cli.ask import repository_of_mount, wait_for_node
from gtfs.cli.terminal import bar, complain, say, say_json, size_text
from gtfs.counted import counted
from gtfs.reel.recover import Listed
from gtfs.repo.repository import Repository, open_repository
from gtfs.state.compare import compare
from gtfs.state.fsck import check, notes, rebuild
from gtfs.state.lock import Lock
from gtfs.state.private import ReadOnly, is_read_only, make_private
from gtfs.state.state import State


def run(repo: Path, again: bool, against: Path | None, *, dry_run: bool = False, as_json: bool = False) -> int:
    """Check, with a line on stderr for all that is found."""
    repository = open_repository(repository_of_mount(repo) or repo)
    other = None if against is None else open_repository(against)
    wait_for_node(repository.layout.lock)
    rebuilt: dict[str, Any] | None = None
    if again:
        old = "the old one is node.db.old" if repository.layout.index.exists() else "there was none"
        rebuilt = _foretell(repository) if dry_run else _rebuild(repository)
        if not as_json:
            _tell(rebuilt, old, dry_run=dry_run)
    if again and dry_run:  # of an index that may be damaged nothing can be asked
        if as_json:
            say_json({"repository": str(repository.path), "rebuilt": rebuilt, "found": [], "notes": [], "packs": None})
        return 0
    lines = list(rebuilt["problems"] if rebuilt is not None else ())
    with State(repository, may_be_read_only=True) as state:
        with bar("checking") as show:
            for line in check(state, lambda done, total: show(done, total, size_text(total))):
                complain(line)  # above the bar
                lines.append(line)
            compared = () if other is None else compare(repository, other, lambda n: show(0, 0, f"{n} objects"))
            for line in compared:
                complain(line)
                lines.append(line)
        noted, packs = list(notes(state)), state.index.packs.count()
    if as_json:
        found = {"rebuilt": rebuilt, "found": lines, "notes": noted, "packs": packs}
        say_json({"repository": str(repository.path), **found})
        return 1 if lines else 0
    for line in noted:
        say(f"note: {line}")
    if not lines:
        say(f"{repo}: {counted(packs, 'pack')}, all well")
    return 1 if lines else 0


def _tell(rebuilt: dict[str, Any], old: str, *, dry_run: bool) -> None:
    made = f"{counted(rebuilt['packs'], 'pack')}, " if not dry_run else f"{size_text(rebuilt['bytes'])} of "
    index = "index would be made" if dry_run else "index made"
    say(f"{index} anew: {made}{counted(rebuilt['reels'], 'reel')}; {old}")


def _foretell(repository: Repository) -> dict[str, Any]:
    """What would be read; nothing of it is."""
    files = [file.stat().st_size for file in repository.state_directory.rglob("*.reel")]
    return {"packs": None, "reels": len(files), "bytes": sum(files), "problems": []}


def _rebuild(repository: Repository) -> dict[str, Any]:
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
    return {"packs": result.packs, "reels": result.reels, "bytes": total, "problems": list(result.problems)}
