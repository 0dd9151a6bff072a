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


def has_repeats(entries: TreeEntries) -> bool:
    """Whether a name stands twice; raises `CorruptPack`."""
    for part in range(entries.parts):
        seen: set[bytes] = set()
        count = 0
        for piece in entries.pieces():
            some = [name for _, name, _ in piece if entries.parts == 1 or hash(name) % entries.parts == part]
            seen.update(some)
            count += len(some)
            if len(seen) != count:
                return True
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
