# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the repository has an object, without a process: pack indexes and loose files as they were at the last look.

A question costs no system call, so that a batch can ask about each of its objects; whoever keeps a `KnownObjects`
calls `refresh` before a new batch. One thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Final

from dulwich.object_format import OBJECT_FORMATS
from dulwich.pack import PackIndex, load_pack_index, load_pack_index_file

from gtfs.ids import ObjectId
from gtfs.repo.repository import Repository

_SMALL_INDEX: Final = 1 << 16  # bytes; read and not mapped, as a map keeps a file descriptor and small packs are many


class KnownObjects:
    """Membership in the object store, alternates included. A context manager."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._format = OBJECT_FORMATS[repository.fmt.name]
        self._directories: list[Path] = []
        self._packs: dict[str, PackIndex] = {}  # by path, as text: it is compared very often
        self._cruft: set[str] = set()  # those of `_packs` that git gc will throw away one day
        self._loose: dict[int, frozenset[str]] = {}  # by the first byte of an id: names of files, listed when asked for
        self.refresh()

    def refresh(self) -> bool:
        """Notice what git, or this program, has added or repacked since the last look; gives whether packs have gone.

        Raises OSError.
        """
        self._loose.clear()
        self._directories = list(self._repository.object_directories())
        any_gone = False
        while True:
            found = {index for directory in self._directories for index in _usable_indexes(directory / "pack")}
            gone = self._packs.keys() - found
            for index in gone:
                self._packs.pop(index).close()
            self._cruft = {index for index in found if Path(index).with_suffix(".mtimes").exists()}
            any_gone = any_gone or bool(gone)
            try:
                for index in found - self._packs.keys():
                    self._packs[index] = self._load(index)
            except FileNotFoundError:
                continue  # git repacked meanwhile: the objects are in a pack that the next list has
            if not gone:  # else that pack may have come while the directory was being read, and not be in this list
                return any_gone

    def _load(self, index: str) -> PackIndex:
        path = Path(index)
        if path.stat().st_size <= _SMALL_INDEX:
            return load_pack_index_file(index, BytesIO(path.read_bytes()), self._format)
        return load_pack_index(index, self._format)

    def is_packed(self, oid: ObjectId) -> bool:
        """Whether a pack has it that git does not mean to throw away: loose files and cruft packs are what `git prune`
        and `git gc` take, unless a ref reaches them."""
        for index, pack in self._packs.items():
            try:
                pack.object_offset(oid)
            except KeyError:
                continue
            if index not in self._cruft:
                return True
        return False

    def __contains__(self, oid: ObjectId) -> bool:
        for pack in self._packs.values():
            try:
                pack.object_offset(oid)
            except KeyError:
                continue
            return True
        names = self._loose.get(oid[0])
        if names is None:
            names = self._loose[oid[0]] = frozenset(self._list_loose(f"{oid[0]:02x}"))
        return oid[1:].hex() in names

    def _list_loose(self, fan: str) -> Iterator[str]:
        for directory in self._directories:
            yield from _names_in(directory / fan)

    def __enter__(self) -> KnownObjects:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Know nothing, until the next `refresh`."""
        self._loose.clear()
        while self._packs:
            self._packs.popitem()[1].close()


def _usable_indexes(directory: Path) -> Iterator[str]:
    """The indexes whose pack is there too: git writes the pack first and takes the index away first."""
    names = _names_in(directory)
    for name in names:
        if name.endswith(".idx") and name.removesuffix(".idx") + ".pack" in names:
            yield f"{directory}/{name}"


def _names_in(directory: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(directory)}
    except FileNotFoundError:
        return set()
