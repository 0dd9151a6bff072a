# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the repository has an object, without a process: pack indexes and loose files as they were at the last look.

A question costs no system call, so that a batch can ask about each of its objects, and no more where there are many
packs: those that are asked much are looked through once, for a `Sieve`. Whoever keeps a `KnownObjects` calls `refresh`
before a new batch. One thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from gtfs.ids import ObjectId
from gtfs.repo.packindex import PackIndex, names_in, usable_indexes
from gtfs.repo.repository import Repository
from gtfs.repo.sieve import Sieve

_WORTH_SIEVING: Final = 8  # to add an object to the sieve costs about an eighth of a question to a pack


class KnownObjects:
    """Membership in the object store, alternates included. A context manager."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._directories: list[Path] = []
        self._packs: dict[str, PackIndex] = {}  # by path, as text: it is compared very often
        self._cruft: set[str] = set()  # those of `_packs` that git gc will throw away one day
        self._asked = 0  # questions so far
        self._asked_before = 0  # of them before the last look: as many come before the next
        self._new: dict[str, int] = {}  # those of `_packs` that are not in the sieve; `_asked` when they were found
        self._sieve = Sieve(0)
        self._loose: dict[int, frozenset[str]] = {}  # by the first byte of an id: names of files, listed when asked for
        self.refresh()

    def refresh(self) -> bool:
        """Notice what git, or this program, has added or repacked since the last look; gives whether packs have gone.

        Raises `BadIndex`, OSError.
        """
        self._loose.clear()
        self._directories = list(self._repository.object_directories())
        any_gone = False
        while True:
            found = {i: cruft for directory in self._directories for i, cruft in usable_indexes(directory / "pack")}
            gone = self._packs.keys() - found
            for index in gone:
                self._packs.pop(index).close()
                self._new.pop(index, None)  # in the sieve, it makes no answer wrong
            self._cruft = {index for index, is_cruft in found.items() if is_cruft}
            any_gone = any_gone or bool(gone)
            try:
                for index in found.keys() - self._packs.keys():
                    self._packs[index] = PackIndex(Path(index), self._repository.fmt)
                    self._new[index] = self._asked
            except FileNotFoundError:
                continue  # git repacked meanwhile: the objects are in a pack that the next list has
            if not gone:  # else that pack may have come while the directory was being read, and not be in this list
                self._fill_sieve(self._asked - self._asked_before)
                self._asked_before = self._asked
                return any_gone

    def _fill_sieve(self, more: int) -> None:
        """Put into the sieve what was asked so much, or will be by ``more`` questions, that it is cheaper there."""
        asked = self._asked + more
        for index in [i for i, at in self._new.items() if (asked - at) * _WORTH_SIEVING > len(self._packs[i])]:
            with contextlib.suppress(FileNotFoundError):  # until the next look it can be asked
                if self._sieve.add(Path(index), self._repository.fmt):
                    del self._new[index]
        if self._sieve.is_full:
            sieved = self._packs.keys() - self._new.keys()
            self._sieve = Sieve(sum(len(self._packs[index]) for index in sieved))
            self._new |= dict.fromkeys(sieved, self._asked)
            for index in sieved:
                with contextlib.suppress(FileNotFoundError):
                    if self._sieve.add(Path(index), self._repository.fmt):
                        del self._new[index]

    def packed_among(self, oids: Iterable[ObjectId]) -> set[ObjectId]:
        """Those that a pack has which git does not mean to throw away: loose files and cruft packs are what `git prune`
        and `git gc` take, unless a ref reaches them."""
        found = set()
        packs, new, may_have = self._packs, self._new, self._sieve.may_have
        for oid in oids:
            self._asked += 1
            candidates = packs if may_have(oid) else new
            if candidates and any(index not in self._cruft for index in self._packs_with(oid, candidates)):
                found.add(oid)
        return found

    def __contains__(self, oid: ObjectId) -> bool:
        self._asked += 1
        candidates = self._packs if self._sieve.may_have(oid) else self._new
        if candidates and any(True for _ in self._packs_with(oid, candidates)):
            return True
        names = self._loose.get(oid[0])
        if names is None:
            names = self._loose[oid[0]] = frozenset(self._list_loose(f"{oid[0]:02x}"))
        return oid[1:].hex() in names

    def _packs_with(self, oid: ObjectId, candidates: dict[str, Any]) -> Iterator[str]:
        """The newest first: what a commit needs of others, those shortly before it brought."""
        return (index for index in reversed(candidates) if oid in self._packs[index])

    def _list_loose(self, fan: str) -> Iterator[str]:
        for directory in self._directories:
            yield from names_in(directory / fan)

    def __enter__(self) -> KnownObjects:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Know nothing, until the next `refresh`."""
        self._loose.clear()
        self._new.clear()
        self._sieve = Sieve(0)
        while self._packs:
            self._packs.popitem()[1].close()
