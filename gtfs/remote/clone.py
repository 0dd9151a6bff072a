# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository in which git runs, and the state of a node in it, made at its first fetch (design.md §12).

Any thread.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gtfs.catalogue.store import CatalogueStore
from gtfs.errors import Blame, GtfsError
from gtfs.ids import OBJECT_FORMATS, ObjectId
from gtfs.ingest.lost import absent, rely_on_others
from gtfs.layout import Layout
from gtfs.repo.repository import GitMissing, Repository
from gtfs.repo.unpack import release
from gtfs.repo.upkeep import MANY_TIMES, repack
from gtfs.state.belief import Belief, keep_ring
from gtfs.state.config import Config, sweep_config
from gtfs.state.lock import Busy, Lock, try_lock
from gtfs.state.private import make_private
from gtfs.state.shed import shed_reels
from gtfs.state.state import State

_LOOK_MS: Final = 100


class NotAClone(GtfsError):
    """The repository cannot follow a feed by git; the text says why."""

    fault = Blame.SOURCE


def find_clone() -> Repository | None:
    """The repository that git has told of by its environment, the same for all its work trees; None outside of one."""
    if "GIT_DIR" not in os.environ:
        return None
    asked = ["git", "rev-parse", "--git-common-dir", "--show-object-format"]
    try:
        done = subprocess.run(asked, capture_output=True, check=False)
    except FileNotFoundError:
        raise GitMissing from None
    path, _, name = os.fsdecode(done.stdout).removesuffix("\n").rpartition("\n")  # a path may have several lines
    if done.returncode or name not in OBJECT_FORMATS:
        raise NotAClone(f"git cannot tell where its repository is: {done.stderr.decode('utf-8', 'replace').strip()}")
    return Repository(Path(path).resolve(), OBJECT_FORMATS[name])


def has_catalogue(repository: Repository) -> bool:
    """Whether a catalogue was accepted here before; raises `NotAClone` for what may not follow one by git."""
    if Config(repository).is_mirror():
        raise NotAClone(
            f"{repository.path} is a mirror: gtfs sync moves its refs, and git fetch from a feed is for a clone"
        )
    return repository.layout.latest.exists()


def push_place(repository: Repository) -> str | None:
    """Where the catalogue that is held says that pushes are welcome: it is shown, and git is not sent there."""
    if not repository.layout.latest.exists():
        return None
    held = CatalogueStore(repository.layout.catalogue, read_only=True).highest()
    return None if held is None else held.catalogue.push_url


def refuse_part(repository: Repository) -> None:
    """Raises `NotAClone` for a shallow or partial clone."""
    if repository.is_shallow() or repository.is_partial():
        raise NotAClone(
            f"{repository.path} is a clone of a part, and a feed gives history whole: first git fetch --unshallow, or "
            "clone anew without --filter"
        )


def has_any(repository: Repository, oids: list[ObjectId]) -> bool:
    """Whether git has one of these objects already."""
    return bool(oids) and len(absent(repository, oids)) < len(oids)


def begin(repository: Repository, belief: Belief, source: str) -> None:
    """Make the state of a clone that follows this catalogue; raises `NotAClone`, `Busy`, OSError."""
    fmt = belief.accepted.catalogue.object_format
    if repository.fmt is not fmt:
        raise NotAClone(
            f"{repository.path} has the object format {repository.fmt.name}, and the catalogue's {fmt.name}"
        )
    make_private(repository.state_directory)
    with Lock(repository.layout.lock):
        if has_catalogue(repository):  # by another git, meanwhile
            return
        sweep_config(repository)
        config = Config(repository)
        config.set("clone", "true")
        config.set("source", source)
        keep_ring(repository, belief)
        CatalogueStore(repository.layout.catalogue).save(belief.accepted)


def wait_turn(layout: Layout, busy: Busy) -> None:
    """Return when the process that has the clone has let it go; says so, as git does of its own locks.

    Raises KeyboardInterrupt when git has gone: nobody waits then.
    """
    print(f"gtfs: waiting for process {busy.pid or 'unknown'}, which has this clone", file=sys.stderr, flush=True)
    git = select.poll()
    git.register(0, 0)  # for its hang-up alone
    fd = os.open(layout.lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while not try_lock(fd, fcntl.LOCK_EX):
            if git.poll(_LOOK_MS):
                raise KeyboardInterrupt
    finally:
        os.close(fd)


def was_removed(repository: Repository) -> bool:
    """Whether git has taken the repository away, as git clone does when it fails, and only ours is left of it."""
    try:
        return {entry.name for entry in repository.path.iterdir()} <= {repository.state_directory.name}
    except FileNotFoundError:
        return False


def is_to_end(repository: Repository, marks: Sequence[Path], *, keeps_reels: bool) -> bool:
    """Whether a fetch, this one or one before it that was cut short, has left something for `end`."""
    has_reels = not keeps_reels and bool(repository.layout.reel_names())
    return repository.layout.index.exists() and (has_reels or bool(marks))


def end(repository: Repository, marks: Sequence[Path], *, keeps_reels: bool) -> None:
    """Once git has moved its refs: its housekeeping may have what came, and the reels go. Raises `Busy`, OSError.

    ``marks``: the `.keep` files that were there when it was told what may be had. They go also where a node has the
    clone, which makes no refs and would keep them for as long as it runs.
    """
    release(marks)
    with State(repository) as state:
        if not keeps_reels:
            shed_reels(state)
        repacked = repack(repository, times=MANY_TIMES)  # under the lock: who opens the state next sweeps its files
        if repacked is not None:
            rely_on_others(state.index, *repacked)
