# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves of refs by compare-and-swap, fsynced: the last step of everything (design.md §8.9). Any thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gtfs.errors import GtfsError
from gtfs.ids import ObjectId
from gtfs.repo.repository import GitFailed, Repository


class RefMove(NamedTuple):
    """One ref from ``old`` (None: it must not exist) to ``new`` (None: delete it)."""

    name: bytes
    old: ObjectId | None
    new: ObjectId | None


class RefsNotMoved(GtfsError):
    """git refused a move: a ref stood elsewhere than was read, or names conflict."""

    exit_code = 6


def _line(repository: Repository, move: RefMove) -> bytes:
    zero = b"0" * (2 * repository.fmt.oid_bytes)
    old = move.old.hex().encode() if move.old is not None else zero
    if move.new is None:
        return b"delete %s\0%s\0" % (move.name, old)
    return b"update %s\0%s\0%s\0" % (move.name, move.new.hex().encode(), old)


def move_refs(repository: Repository, moves: Iterable[RefMove]) -> None:
    """Make all moves or none of each kind, deletions first (a/b may replace a); raises `RefsNotMoved`."""
    moves = [m for m in moves if m.old != m.new]
    for group in ([m for m in moves if m.new is None], [m for m in moves if m.new is not None]):
        if group:
            _transaction(repository, group)


def _transaction(repository: Repository, moves: Sequence[RefMove]) -> None:
    try:
        repository.git(
            "-c",
            "core.fsync=all",
            "-c",
            "core.logAllRefUpdates=false",
            "update-ref",
            "--stdin",
            "-z",
            stdin=b"".join(_line(repository, m) for m in moves),
        )
    except GitFailed as e:
        said = e.stderr.decode("utf-8", "replace").strip()
        raise RefsNotMoved(f"refs were not moved: {said}; nothing was changed, it is tried again") from None


def set_head(repository: Repository, target: bytes) -> None:
    """Point HEAD at a branch, as a mirror clone does; raises `GitFailed`."""
    repository.git("symbolic-ref", "HEAD", target.decode("utf-8", "surrogateescape"))
