# SPDX-License-Identifier: GPL-3.0-or-later
"""Open directories: entries with attributes and a position that stays valid while packs and files come and go.

Trio loop only; nothing here waits.
"""

from __future__ import annotations

import errno
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final, Protocol

import pyfuse3

from gtfs.ids import parse_pack_name
from gtfs.mount import inodes
from gtfs.mount.incoming import IncomingFiles
from gtfs.mount.names import Names, Parts, fail
from gtfs.mount.tree import PackFields, PackSource

_DOTS: Final = (b".", b"..")
_FIRST: Final = 2  # positions 1 and 2 are behind the dots
_PACKS: Final = 1 << 32  # positions of packs are this plus the row; those of everything else stand below
_ROWS: Final = 1000  # packs asked from the index at once; the kernel asks for some 160 entries


class Listing(Protocol):
    """An open directory; ``row``: packs were listed up to this row of the index."""

    row: int

    def reply(self, start: int, token: pyfuse3.ReaddirToken) -> bool:
        """Give the kernel entries from position ``start`` on, 0 for the beginning, until it has enough.

        Each counts as a look-up but for the dots; packs need no count. False if there was nothing to give, and that is
        the end unless more packs come.
        """

    def packs_gone(self) -> None:
        """Packs have left the index: of what was read from it ahead, nothing is given any more."""


Entry = tuple[bytes, pyfuse3.EntryAttributes, int]  # name, attributes, and the position behind it


def _reply_few(
    entries: Iterable[Entry], numbers: inodes.PassingInodes, token: pyfuse3.ReaddirToken
) -> tuple[int, bool]:
    """Give the kernel what is no pack; how many it took, and False when it has enough."""
    taken = 0
    for name, attributes, position in entries:
        if not pyfuse3.readdir_reply(token, name, attributes, position):
            return taken, False
        taken += 1
        if name not in _DOTS:
            numbers.looked_up(attributes.st_ino)
    return taken, True


def _dots(start: int, attributes: pyfuse3.EntryAttributes) -> Iterator[Entry]:
    for i, name in enumerate(_DOTS[start:] if start < len(_DOTS) else (), start + 1):
        yield name, attributes, i


class RootListing:
    """The mount's own directory: incoming files as they were at the start, then packs by row.

    A file that becomes a pack meanwhile is listed once: packs whose names the first part had are left out.
    """

    def __init__(self, source: PackSource, files: IncomingFiles, names: Names) -> None:
        self._source, self._files = source, files
        self._meaning = names
        self._names: list[bytes] = []
        self._listed: set[bytes] = set()
        self._packs: Sequence[PackFields] = ()
        self._packs_after = 0
        self.row = 0

    def reply(self, start: int, token: pyfuse3.ReaddirToken) -> bool:
        """See `Listing`."""
        taken = 0
        if start < _PACKS:
            taken, wants_more = _reply_few(self._before_packs(start), self._meaning.inodes, token)
            if not wants_more:
                return True
        return self._reply_packs(max(start - _PACKS, 0), token) or taken > 0

    def packs_gone(self) -> None:
        """See `Listing`."""
        self._packs = ()

    def _before_packs(self, start: int) -> Iterator[Entry]:
        if start == 0:
            self._packs = ()
            self._names = [f.name for f in self._files.all() if f.name is not None and self._meaning.shows(f)]
            self._listed = {bytes(oid) for name in self._names if (oid := parse_pack_name(name)) is not None}
        yield from _dots(start, self._meaning.root())
        first = max(start - _FIRST, 0)
        for i, name in enumerate(self._names[first:], first):
            attributes = self._meaning.of_name(name)
            if attributes is not None:
                yield name, attributes, _FIRST + i + 1

    def _reply_packs(self, row: int, token: pyfuse3.ReaddirToken) -> bool:
        # Once for each of very many names: one loop, and the same attributes filled in anew.
        entry: pyfuse3.EntryAttributes | None = None
        of, listed, reply = self._meaning.attributes, self._listed, pyfuse3.readdir_reply
        while packs := self._after(row):
            for pack in packs:
                oid = pack[1]
                if oid in listed:
                    continue
                entry = of.pack(pack) if entry is None else of.next_pack(entry, pack)
                if not reply(token, oid.hex().encode() + b".pack", entry, _PACKS + pack[0]):
                    return True
            row = packs[-1][0]
        self.row = row
        return entry is not None

    def _after(self, row: int) -> Sequence[PackFields]:
        """The next packs: what is left of those asked for last, as long as the listing goes on from there."""
        packs = self._packs
        if not packs or not self._packs_after <= row < packs[-1][0]:
            self._packs_after, packs = row, self._source.rows(row, _ROWS)
            self._packs = packs
            return packs
        return packs[bisect_right(packs, row, key=itemgetter(0)) :]


class ControlListing:
    """A directory under ``.gtfs``, as it was at the start of the listing."""

    def __init__(self, parts: Parts, names: Names) -> None:
        self._parts, self._meaning = parts, names
        self._names: list[bytes] = []
        self.row = 0

    def reply(self, start: int, token: pyfuse3.ReaddirToken) -> bool:
        """See `Listing`: it has all."""
        _reply_few(self._entries(start), self._meaning.inodes, token)
        return True

    def packs_gone(self) -> None:
        """See `Listing`: nothing is read ahead."""

    def _entries(self, start: int) -> Iterator[Entry]:
        if start == 0:
            self._names = self._meaning.names_below(self._parts)
        yield from _dots(start, self._meaning.of_node(self._parts))
        first = max(start - _FIRST, 0)
        for i, name in enumerate(self._names[first:], first):
            attributes = self._meaning.of_name_below(self._parts, name)
            if attributes is not None:
                yield name, attributes, _FIRST + i + 1


class OpenDirectories:
    """Those of one mount, by the number that the kernel has for each."""

    def __init__(self, source: PackSource, files: IncomingFiles, names: Names) -> None:
        self._source, self._files, self._names = source, files, names
        self._listings: dict[int, tuple[Listing, pyfuse3.RequestContext]] = {}
        self._next = 1

    def open(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """Begin to list a directory; raises ENOTDIR."""
        number = self._next
        self._next += 1
        self._listings[number] = self._listing(inode), ctx
        return number

    def _listing(self, inode: int) -> Listing:
        if inode == inodes.ROOT:
            return RootListing(self._source, self._files, self._names)
        parts = self._names.node(inode)
        if not isinstance(parts, Parts) or self._names.control(parts).kind != "dir":
            fail(errno.ENOTDIR)
        return ControlListing(parts, self._names)

    def read(self, number: int, start: int, token: pyfuse3.ReaddirToken) -> bool:
        """See `Listing.reply`."""
        return self._listings[number][0].reply(start, token)

    def packs_gone(self) -> None:
        """See `Listing`."""
        for listing, _ in self._listings.values():
            listing.packs_gone()

    def end(self, number: int) -> tuple[int, pyfuse3.RequestContext]:
        """Where a listing stands that has no more to give, see `Listing`, and who opened it."""
        listing, ctx = self._listings[number]
        return listing.row, ctx

    def release(self, number: int) -> None:
        """It is not listed any more."""
        self._listings.pop(number, None)
