# SPDX-License-Identifier: GPL-3.0-or-later
"""Open directories: entries with attributes and a position that stays valid while packs and files come and go.

Trio loop only; never waits.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final, Protocol

import pyfuse3

from gtfs.ids import parse_pack_name
from gtfs.mount.incoming import IncomingFile, IncomingFiles
from gtfs.mount.tree import ControlEntry, ControlTree, PackInfo, PackSource

_DOTS: Final = (b".", b"..")
_FIRST: Final = 2  # positions 1 and 2 are behind the dots
_PACKS: Final = 1 << 32  # positions of packs are this plus the row; those of everything else stand below
_ROWS: Final = 1000  # packs asked from the index at once; the kernel asks for some 150 entries


# One line of a listing: name, attributes, and where the next one starts. The next line may use the same attributes.
# A plain tuple, as there are a hundred thousand.
Entry = tuple[bytes, pyfuse3.EntryAttributes, int]


class Listing(Protocol):
    """An open directory."""

    def entries(self, start: int) -> Iterator[Entry]:
        """The entries from position ``start``, 0 for the beginning."""


def _dots(start: int, attributes: pyfuse3.EntryAttributes) -> Iterator[Entry]:
    for i, name in enumerate(_DOTS[start:] if start < len(_DOTS) else (), start + 1):
        yield name, attributes, i


class RootListing:
    """The mount's own directory: incoming files as they were at the start, then packs by row.

    A file that becomes a pack meanwhile is listed once: packs whose names the first part had are left out.
    """

    def __init__(
        self,
        source: PackSource,
        files: IncomingFiles,
        here: Callable[[], pyfuse3.EntryAttributes],
        of_name: Callable[[bytes], pyfuse3.EntryAttributes | None],
        of_pack: Callable[[PackInfo], pyfuse3.EntryAttributes],
        next_pack: Callable[[pyfuse3.EntryAttributes, PackInfo], pyfuse3.EntryAttributes],
        shows_incoming: Callable[[IncomingFile], bool],
    ) -> None:
        self._source, self._files = source, files
        self._here, self._of_name, self._of_pack, self._next_pack = here, of_name, of_pack, next_pack
        self._shows_incoming = shows_incoming
        self._names: list[bytes] = []
        self._listed: set[bytes] = set()
        self._packs: list[PackInfo] = []
        self._packs_after = 0

    def entries(self, start: int) -> Iterator[Entry]:
        """See `Listing`."""
        if start == 0:
            self._packs = []
            self._names = [f.name for f in self._files.all() if f.name is not None and self._shows_incoming(f)]
            self._listed = {bytes(oid) for name in self._names if (oid := parse_pack_name(name)) is not None}
        yield from _dots(start, self._here())
        if start < _PACKS:
            first = max(start - _FIRST, 0)
            for i, name in enumerate(self._names[first:], first):
                attributes = self._of_name(name)
                if attributes is not None:
                    yield name, attributes, _FIRST + i + 1
        row = max(start - _PACKS, 0)
        entry: pyfuse3.EntryAttributes | None = None
        while infos := self._after(row):
            for info in infos:
                if info.oid not in self._listed:
                    entry = self._of_pack(info) if entry is None else self._next_pack(entry, info)
                    yield info.oid.hex().encode() + b".pack", entry, _PACKS + info.row
            row = infos[-1].row

    def _after(self, row: int) -> list[PackInfo]:
        """The next packs: what is left of those asked for last, as long as the listing goes on from there."""
        packs = self._packs
        if not packs or not self._packs_after <= row < packs[-1].row:
            self._packs_after, packs = row, self._source.rows(row, _ROWS)
            self._packs = packs
            return packs
        return packs[bisect_right(packs, row, key=attrgetter("row")) :]


class ControlListing:
    """A directory under ``.gtfs``, as it was at the start of the listing."""

    def __init__(
        self,
        control: ControlTree,
        parts: tuple[bytes, ...],
        here: Callable[[], pyfuse3.EntryAttributes],
        of_entry: Callable[[tuple[bytes, ...], ControlEntry], pyfuse3.EntryAttributes],
    ) -> None:
        self._control, self._parts, self._here, self._of_entry = control, parts, here, of_entry
        self._names: list[bytes] = []

    def entries(self, start: int) -> Iterator[Entry]:
        """See `Listing`."""
        if start == 0:
            self._names = self._control.names(self._parts)
        yield from _dots(start, self._here())
        first = max(start - _FIRST, 0)
        for i, name in enumerate(self._names[first:], first):
            found = self._control.look((*self._parts, name))
            if found is not None:
                yield name, self._of_entry((*self._parts, name), found), _FIRST + i + 1
