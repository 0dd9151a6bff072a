# SPDX-License-Identifier: GPL-3.0-or-later
"""Many refs moved at once by one new packed-refs file, where git update-ref would write a file for each. One thread.

The format and the locks are git's (gitrepository-layout(5), refs/packed-backend.c): packed-refs.lock is held, what is
new is written to packed-refs.new and renamed, and a ref that has a file of its own is locked, compared and loses it,
as git pack-refs does. A ref without such a file is not locked: a git that moves it meanwhile writes that file, which
then counts, and the move is told as refused. What other kinds of stores keep is not for this module.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gtfs.durable import sync_directory
from gtfs.ids import ObjectId
from gtfs.repo.repository import Repository

PACKED: Final = b"packed-refs"

_WAIT_S: Final = 1.0  # for packed-refs.lock, as git does
_OWN_STORE: Final = (b"refs/bisect/", b"refs/worktree/", b"refs/rewritten/")  # of each work tree, and never packed
_HEADER: Final = b"# pack-refs with:"
_FULLY_PEELED: Final = b" fully-peeled "
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class RefMove(NamedTuple):
    """One ref from ``old`` (None: it must not exist) to ``new`` (None: delete it)."""

    name: bytes
    old: ObjectId | None
    new: ObjectId | None


class _Packed(NamedTuple):
    """A line of the file: the id in hex, and that of what a tag names in the end."""

    oid: bytes
    peeled: bytes | None


def can_pack(repository: Repository, moves: Iterable[RefMove]) -> bool:
    """Whether packed-refs may hold these."""
    if (repository.path / "reftable").exists() or (repository.path / "packed-refs").is_symlink():
        return False
    return not any(m.name.startswith(_OWN_STORE) for m in moves)


def move_packed(repository: Repository, moves: Sequence[RefMove]) -> dict[bytes, str]:
    """Make the moves, each by compare-and-swap, durably; gives those that were not made, and why. Raises OSError."""
    values, refused = _values(repository, moves)
    moves = [m for m in moves if m.name not in refused]
    if not moves:
        return refused
    lock = repository.path / "packed-refs.lock"
    if not _acquire(lock):
        why = "packed-refs.lock is there: another git packs refs, or was killed; if none runs, remove that file"
        return refused | {m.name: why for m in moves}
    locked: list[Path] = []
    try:
        entries, is_peeled = _read(repository.path / "packed-refs")
        loose: dict[bytes, Path] = {}
        for move in moves:
            path = repository.path / os.fsdecode(move.name)
            against = _lock_loose(path, move, locked, loose)
            if against is None and move.name not in loose:
                against = _compare(entries.get(move.name), move)
            if against is not None:
                refused[move.name] = against
            elif move.new is None:
                entries.pop(move.name, None)
            else:
                entries[move.name] = values[move.new]
        _write(repository, entries, is_peeled)
        for name, path in loose.items():
            if name not in refused:
                path.unlink(missing_ok=True)
        for directory in {path.parent for path in loose.values()}:
            sync_directory(directory)
    finally:
        for path in locked:
            path.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
    for move in moves:
        if (repository.path / os.fsdecode(move.name)).is_file():
            refused.setdefault(move.name, "another git moved it meanwhile")
    return refused


def _values(repository: Repository, moves: Sequence[RefMove]) -> tuple[dict[ObjectId, _Packed], dict[bytes, str]]:
    """The lines of the new ids; and the moves to what is missing, or is no commit and shall be a branch."""
    new = list({m.new for m in moves if m.new is not None})
    asked = b"".join(b"%s\n%s^{}\n" % (oid.hex().encode(), oid.hex().encode()) for oid in new)
    lines = repository.git("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=asked).splitlines()
    values = {}
    kinds = {}
    for number, oid in enumerate(new):
        (name, kind), (peeled, _) = (line.rsplit(b" ", 1) for line in lines[2 * number : 2 * number + 2])
        if kind != b"missing":
            kinds[oid] = kind
            values[oid] = _Packed(name, peeled if kind == b"tag" and len(peeled) == len(name) else None)
    refused = {}
    for move in moves:
        if move.new is not None and move.new not in kinds:
            refused[move.name] = f"{move.new.hex()} is missing in git"
        elif move.new is not None and move.name.startswith(b"refs/heads/") and kinds[move.new] != b"commit":
            refused[move.name] = f"{move.new.hex()} is a {kinds[move.new].decode()}, which a branch cannot hold"
    return values, refused


def _acquire(lock: Path) -> bool:
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            os.close(os.open(lock, _CREATE, 0o666))
        except FileExistsError:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        else:
            return True


def _lock_loose(path: Path, move: RefMove, locked: list[Path], loose: dict[bytes, Path]) -> str | None:
    """Lock a ref that has a file of its own and compare it; gives why it cannot move."""
    if not path.is_file():
        return None
    lock = path.with_name(path.name + ".lock")
    try:
        os.close(os.open(lock, _CREATE, 0o666))
    except FileExistsError:
        return f"{path.name}.lock is there: another git moves it"
    locked.append(lock)
    loose[move.name] = path
    with contextlib.suppress(FileNotFoundError):  # somebody removed it just before
        stands = path.read_bytes().strip()
        if move.old is None or stands != move.old.hex().encode():
            return f"it stands at {stands.decode('ascii', 'replace')[:64]} by now"
        return None
    del loose[move.name]
    return None


def _compare(entry: _Packed | None, move: RefMove) -> str | None:
    old = None if move.old is None else move.old.hex().encode()
    if (None if entry is None else entry.oid) == old:
        return None
    return "it is gone by now" if entry is None else f"it stands at {entry.oid.decode()} by now"


def _read(path: Path) -> tuple[dict[bytes, _Packed], bool]:
    """The file's lines, and whether it has for each tag what it names."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}, True
    entries: dict[bytes, _Packed] = {}
    name = b""
    is_peeled = bool(lines) and lines[0].startswith(_HEADER) and _FULLY_PEELED in lines[0] + b" "
    for line in lines:
        if line.startswith(b"^") and name in entries:
            entries[name] = _Packed(entries[name].oid, line[1:])
        elif not line.startswith(b"#"):
            oid, _, name = line.partition(b" ")
            entries[name] = _Packed(oid, None)
    return entries, is_peeled


def _write(repository: Repository, entries: Mapping[bytes, _Packed], is_peeled: bool) -> None:
    path, new = repository.path / "packed-refs", repository.path / "packed-refs.new"
    out = [_HEADER + (b" peeled fully-peeled sorted \n" if is_peeled else b" sorted \n")]
    for name, (oid, peeled) in sorted(entries.items()):
        out.append(b"%s %s\n" % (oid, name) + (b"^%s\n" % peeled if peeled is not None else b""))
    new.unlink(missing_ok=True)  # a dead git's: who writes it holds the lock
    fd = os.open(new, _CREATE, 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            file.writelines(out)
            file.flush()
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            os.fsync(file.fileno())
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)
    sync_directory(repository.path)
