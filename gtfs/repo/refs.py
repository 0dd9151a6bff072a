# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves of refs by compare-and-swap, durable: the last step of everything (design.md §8.9). One thread at a time.

A ref that cannot move does not stop the others. What usually stands in the way is seen beforehand; what git finds is
told apart by dividing. Few refs are moved by git update-ref, many by one new packed-refs file, so that neither files
nor processes grow with their number.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from gtfs.durable import sync_directory, sync_file
from gtfs.errors import Blame, GtfsError
from gtfs.repo.moving import Moving
from gtfs.repo.packedrefs import PACKED, RefMove, can_pack, move_packed
from gtfs.repo.reffiles import conflicts, trouble
from gtfs.repo.repository import Repository

__all__ = ["RefMove", "RefsNotMoved", "move_refs", "set_head"]

_FEW: Final = 64
_NAME: Final = re.compile(rb"'(refs/[^']+)'")
# These say that nothing can be moved now, so that no dividing helps.
_ALL_STAY: Final = (b"packed-refs.lock", b"packed-refs.new")
_HOPELESS: Final = (
    b"No space left on device", b"Disk quota exceeded", b"Read-only file system", b"Input/output error",
    b"Too many open files",
)  # fmt: skip


class RefsNotMoved(GtfsError):
    """No ref can be moved now, or one that must: the text has git's word.

    ``fault``: that of who holds a lock, or of the machine.
    """

    def __init__(self, text: str, fault: Blame = Blame.BUSY) -> None:
        super().__init__(text)
        self.fault = fault


def move_refs(
    repository: Repository, moves: Iterable[RefMove], names: Collection[bytes] | None = None
) -> dict[bytes, str]:
    """Make the moves, removals first (a/b may replace a); gives the names of those that were not made, and why.

    ``names``: those of all refs, where the caller has read them for this. What was made is durable. Raises
    `RefsNotMoved` or OSError for what concerns no single ref, as a full disk; then some may have moved.
    """
    moves = [m for m in moves if m.old != m.new]
    refused = {m.name: why.text for m in moves if (why := trouble(repository, m.name)) is not None}
    left = [m for m in moves if m.name not in refused]
    if not left:
        return refused
    make = _make_many if len(left) > _FEW and can_pack(repository, left) else _make_few
    with Moving(repository, {m.name: m.new for m in left} | {PACKED: None}) as moving:
        removals = [m for m in left if m.new is None]
        refused |= make(removals, repository, moving)
        made = [m for m in left if m.new is not None]
        if new := [m.name for m in made if m.old is None]:
            # What the caller has read may be old by now. Of few moves git refuses what conflicts; of many it does not,
            # as we write its file.
            if names is None or make is _make_many:
                names = repository.git("for-each-ref", "--format=%(refname)").splitlines()
            gone = {m.name for m in removals if m.name not in refused}
            refused |= conflicts(new, [name for name in names if name not in gone])
        refused |= make([m for m in made if m.name not in refused], repository, moving)
    return refused


def _make_many(moves: Sequence[RefMove], repository: Repository, _moving: Moving) -> dict[bytes, str]:
    return move_packed(repository, moves) if moves else {}


def _make_few(moves: Sequence[RefMove], repository: Repository, moving: Moving) -> dict[bytes, str]:
    refused: dict[bytes, str] = {}
    todo = [list(moves)] if moves else []
    while todo:
        group = todo.pop()
        said = _transaction(group, repository, moving)
        if not said:
            continue
        is_full = _is_full(repository)  # git does not always say why it could not write
        if is_full or any(word in said for word in _HOPELESS):
            why = "the disk is full: " if is_full else ""
            raise RefsNotMoved(f"refs were not moved: {why}{_words(said)}; it is tried again", Blame.SYSTEM)
        if len(group) == 1 or any(word in said for word in _ALL_STAY):
            refused.update((m.name, _words(said)) for m in group)
            continue
        named = set(_NAME.findall(said))
        bad = [m for m in group if m.name in named]
        if bad:
            refused.update((m.name, _words(said)) for m in bad)
            todo += [rest] if (rest := [m for m in group if m.name not in named]) else []
        else:
            todo += [group[len(group) // 2 :], group[: len(group) // 2]]
    _sync_directories(repository, moves)
    return refused


def _is_full(repository: Repository) -> bool:
    found = os.statvfs(repository.path)
    return found.f_bavail == 0 or found.f_files > 0 == found.f_favail


def _words(said: bytes) -> str:
    return said.decode("utf-8", "replace").strip().removeprefix("fatal: ").replace("\n", "; ")


def _line(move: RefMove, zero: bytes) -> bytes:
    old = move.old.hex().encode() if move.old is not None else zero
    if move.new is None:
        return b"delete %s\0%s\0" % (move.name, old)
    return b"update %s\0%s\0%s\0" % (move.name, move.new.hex().encode(), old)


def _transaction(moves: Sequence[RefMove], repository: Repository, moving: Moving) -> bytes:
    """Make all or none of them; gives what git said against it, b"" when it is done."""
    zero = b"0" * (2 * repository.fmt.oid_bytes)
    # --no-deref: a symbolic ref of the owner's must not lead to another one.
    done = moving.run(
        "-c", "core.fsync=all", "-c", "core.logAllRefUpdates=false", "update-ref", "--no-deref", "--stdin", "-z",
        stdin=b"".join(_line(m, zero) for m in moves),
    )  # fmt: skip
    if not done.returncode:
        return b""
    return done.stderr.strip() or b"git update-ref ended with %d" % done.returncode


def _sync_directories(repository: Repository, moves: Iterable[RefMove]) -> None:
    """Git syncs the files, and not the directories that name them."""
    for directory in {b"/".join(parts[:n]) for m in moves if (parts := m.name.split(b"/")) for n in range(len(parts))}:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # its last ref went, or it was refused
            sync_directory(repository.path / os.fsdecode(directory))


def set_head(repository: Repository, target: bytes) -> str | None:
    """Point HEAD at a branch, as a mirror clone does; gives why that was not possible."""
    with Moving(repository, {b"HEAD": None}) as moving:
        done = moving.run("symbolic-ref", "HEAD", os.fsdecode(target))
    if done.returncode:
        return _words(done.stderr)
    sync_file(repository.path / "HEAD")
    sync_directory(repository.path)
    return None
