# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the repository has an object, without a process: pack indexes and loose files as they were at the last look.

A question costs no system call, so that a batch can ask about each of its objects, and no more where there are many
packs: those that are asked much are looked through once, for a `Sieve`, and what it lets through is sought in git's
multi-pack-index and in the packs beside that. Whoever keeps a `KnownObjects` calls `refresh` before a new batch.
One thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.repo.multipackindex import MULTI_PACK_INDEX, MultiPackIndex
from gtfs.repo.packindex import BadIndex, PackIndex, names_in, usable_indexes
from gtfs.repo.repository import Repository
from gtfs.repo.sieve import Sieve

_WORTH_SIEVING: Final = 8  # to add an object to the sieve costs about an eighth of a question to a pack


class _Joined(NamedTuple):
    """An index over packs of one directory."""

    names: MultiPackIndex
    packs: frozenset[str]  # paths of the indexes of those that it covers, as text
    file: tuple[int, int, int]  # tells it from another

    @classmethod
    def at(cls, directory: str, fmt: ObjectFormat, before: _Joined | None) -> _Joined | None:
        """That of a directory, ``before`` if it is still the same; None where there is none that can be read."""
        path = Path(directory) / MULTI_PACK_INDEX
        try:
            status = path.stat()
            file = status.st_ino, status.st_mtime_ns, status.st_size
            if before is not None and before.file == file:
                return before
            names = MultiPackIndex(path, fmt)
        except (BadIndex, OSError):
            return None
        return cls(names, frozenset(f"{directory}/{name}" for name in names.packs), file)


class KnownObjects:
    """Membership in the object store, alternates included. A context manager."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._directories: list[Path] = []
        self._packs: dict[str, PackIndex] = {}  # by path, as text: it is compared very often
        self._cruft: set[str] = set()  # those of `_packs` that git gc will throw away one day
        self._joined: dict[str, _Joined] = {}  # by directory
        self._beside: dict[str, PackIndex] = {}  # those of `_packs` that none of `_joined` covers
        self._asked = 0  # questions so far
        self._asked_before = 0  # of them before the last look: as many come before the next
        self._new: dict[str, int] = {}  # those of `_packs` that are not in the sieve; `_asked` when they were found
        self._new_beside: list[str] = []
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
            if gone:
                self._look_at_joined()  # nothing that was closed is asked, also where an index cannot be read
            try:
                for index in found.keys() - self._packs.keys():
                    self._packs[index] = PackIndex(Path(index), self._repository.fmt)
                    self._new[index] = self._asked
            except FileNotFoundError:
                continue  # git repacked meanwhile: the objects are in a pack that the next list has
            if not gone:  # else that pack may have come while the directory was being read, and not be in this list
                self._fill_sieve(self._asked - self._asked_before)
                self._asked_before = self._asked
                self._look_at_joined()
                return any_gone

    def _look_at_joined(self) -> None:
        """Take git's indexes over many packs, where all of these are here and none of them will be thrown away."""
        usable = self._packs.keys() - self._cruft
        before, self._joined = self._joined, {}
        for path in (f"{directory}/pack" for directory in self._directories):
            joined = _Joined.at(path, self._repository.fmt, before.get(path))
            if joined is not None and joined.packs <= usable:
                self._joined[path] = joined
            elif joined is not None:
                joined.names.close()
        for path, old in before.items():
            if self._joined.get(path) is not old:
                old.names.close()
        covered = frozenset().union(*(joined.packs for joined in self._joined.values()))
        self._beside = {index: pack for index, pack in self._packs.items() if index not in covered}
        self._new_beside = [index for index in self._new if index not in covered]

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
        new, may_have = self._new, self._sieve.may_have
        for oid in oids:
            self._asked += 1
            if (may_have(oid) or new) and any(index not in self._cruft for index in self._packs_with(oid)):
                found.add(oid)
        return found

    def __contains__(self, oid: ObjectId) -> bool:
        self._asked += 1
        if any(True for _ in self._packs_with(oid)):
            return True
        names = self._loose.get(oid[0])
        if names is None:
            names = self._loose[oid[0]] = frozenset(self._list_loose(f"{oid[0]:02x}"))
        return oid[1:].hex() in names

    def _packs_with(self, oid: ObjectId) -> Iterator[str]:
        """The newest first: what a commit needs of others, those shortly before it brought."""
        may_have = self._sieve.may_have(oid)
        for index in reversed(self._beside if may_have else self._new_beside):
            if oid in self._packs[index]:
                yield index
        if may_have or len(self._new_beside) < len(self._new):
            for directory, joined in self._joined.items():
                name = joined.names.pack_of(oid)
                if name is not None:
                    yield f"{directory}/{name}"

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
        self._new_beside.clear()
        self._beside.clear()
        self._sieve = Sieve(0)
        while self._joined:
            self._joined.popitem()[1].names.close()
        while self._packs:
            self._packs.popitem()[1].close()
