# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of a tree: modes, order, repeats and lengths of names, of a tree of any size, whose entries are not held.

What of it is a fault is for `gtfs.ingest.checkobjects`. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gtfs.ingest import names
from gtfs.pack.format import BLOB, TREE, CorruptPack
from gtfs.pack.objects import TreeEntries, TreeEntry, kind_of_mode

GITLINK: Final = b"160000"
SYMLINK: Final = b"120000"
_MODES: Final = frozenset((b"40000", b"100644", b"100755", SYMLINK, GITLINK))
_PADDED: Final = frozenset((b"040000", b"0100644", b"0100755", b"0120000"))  # as some libraries once wrote them
_LINK_BITS: Final = 0o120000


class TreeForm:
    """What can be said of a tree without looking twice."""

    def __init__(self, null: bytes) -> None:
        self.odd_modes: dict[str, str] = {}  # one fault of a kind
        self.is_sorted = True
        self.longest = 0
        self.has_null = self.any_remarkable = self.has_links = False
        self._null = null
        self._last_key = b""

    def add(self, piece: list[TreeEntry]) -> None:
        """The next entries; raises `CorruptPack`."""
        modes, all_names, oids = zip(*piece, strict=True)
        self.longest = max(self.longest, *map(len, all_names))
        if self.longest > names.NAME_BYTES:
            raise CorruptPack(f"over the limit name: {self.longest} bytes where {names.NAME_BYTES} are allowed")
        plain = {mode: plain_mode(mode) for mode in set(modes)}
        odd = plain.keys() - _MODES
        if odd:
            for text in _odd_modes(piece, odd):
                self.odd_modes.setdefault(text.partition(":")[0], text)
        kinds = set(plain.values())
        keys = list(all_names)
        if b"40000" in kinds:
            keys = [name + b"/" if plain[mode] == b"40000" else name for mode, name, _ in piece]
        self.is_sorted = self.is_sorted and self._last_key <= keys[0] and keys == sorted(keys)
        self._last_key = keys[-1]
        if self._null in oids:
            if any(oid == self._null and plain[mode] != GITLINK for mode, _, oid in piece):
                raise CorruptPack("nullSha1: an entry with the null id")
            self.has_null = True
        self.any_remarkable = self.any_remarkable or names.any_remarkable(b"\0".join(all_names))
        self.has_links = self.has_links or SYMLINK in kinds


class Marks:
    """Which of many names may have been put here: nearly all that say so have, and none that was is denied.

    32 bits a name of a tree, so a seventh of its bytes; who makes a tree does not know what `hash` gives here.
    """

    _BITS: Final = 32  # for each name: of so many that are not here one says that it may be

    def __init__(self, names_at_most: int) -> None:
        bits = 1 << max(names_at_most * self._BITS, 8).bit_length()
        self._mask = bits - 1
        self._table = bytearray(bits // 8)
        self.wrong_at_most = max(1 << 10, names_at_most * 2 // self._BITS)  # so many in all but impossible cases

    def has(self, name: bytes | str) -> bool:
        """Whether it may be here."""
        at = hash(name) & self._mask
        return bool(self._table[at >> 3] & 1 << (at & 7))

    def put(self, name: bytes | str) -> bool:
        """Put it here; whether it may have been already."""
        at = hash(name) & self._mask
        bit = 1 << (at & 7)
        was = self._table[at >> 3]
        self._table[at >> 3] = was | bit
        return bool(was & bit)


def has_repeats(entries: TreeEntries) -> bool:
    """Whether a name stands twice; raises `CorruptPack`."""
    if entries.is_small:
        all_names = [name for _, name, _ in entries]
        return len(set(all_names)) != len(all_names)
    marks = Marks(entries.most)
    doubtful: set[bytes] = set()
    for _, name, _ in entries:
        if marks.put(name):
            doubtful.add(name)
            if len(doubtful) > marks.wrong_at_most:
                return True
    once: set[bytes] = set()
    for _, name, _ in entries:
        if name in doubtful:
            if name in once:
                return True
            once.add(name)
    return False


def plain_mode(mode: bytes) -> bytes:
    """The mode that git reads in a mode."""
    if mode in _MODES:
        return mode
    kind = kind_of_mode(mode)
    if kind == BLOB:
        return SYMLINK if int(mode[-6:], 8) & 0o170000 == _LINK_BITS else b"100644"
    return b"40000" if kind == TREE else GITLINK


def _odd_modes(entries: list[TreeEntry], odd: set[bytes]) -> Iterator[str]:
    """One fault of a kind, with the first name that has it."""
    for name, some in (("zeroPaddedFilemode", odd & _PADDED), ("badFilemode", odd - _PADDED)):
        first = next(((mode, entry) for mode, entry, _ in entries if mode in some), None)
        if first is not None:
            yield f"{name}: {first[0][:20].decode()} for {names.shown(first[1])}"
