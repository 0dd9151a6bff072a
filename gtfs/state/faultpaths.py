# SPDX-License-Identifier: GPL-3.0-or-later
"""Where objects with a fault stand in the tree of the commit that brings them, for a message. Synchronous.

Whoever made the commit chose its trees, and a few small ones, each many times in the next, may stand for more paths
than any machine holds: so each is looked at once, and only so many of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Final

from gtfs.errors import GtfsError
from gtfs.ids import ObjectFormat, ObjectId
from gtfs.pack.format import COMMIT, TAG, TREE
from gtfs.pack.limits import MIB
from gtfs.pack.objects import read_commit_names, read_tag_target
from gtfs.pack.treediff import NoTree, Tree, entry_name, is_tree
from gtfs.repo.catfile import CatFile

TREES: Final = 100_000  # that are read for all of the objects: some seconds
_TREE_BYTES: Final = 128 * MIB  # of them together
_NAMED_BYTES: Final = MIB  # of a commit or tag
_SHOWN: Final = 200  # characters of a path


class FaultPaths:
    """Finds paths in one repository."""

    def __init__(self, reader: CatFile, fmt: ObjectFormat) -> None:
        self._reader = reader
        self._fmt = fmt
        self._trees, self._bytes = TREES, _TREE_BYTES  # that may still be read

    def find(self, pack: ObjectId, wanted: Collection[ObjectId]) -> dict[ObjectId, str]:
        """By object the first of its paths in the commit or tag ``pack``, quoted if it must be.

        '/' is the root, or no tree's; '?' where it would take too long to find out.
        """
        found: dict[ObjectId, str] = {}
        root = self._root_of(pack)
        sought = {*wanted}
        if root is not None:
            for oid, path in self._walk(root):
                if oid in sought:
                    sought.discard(oid)
                    found[oid] = _shown(path)
                    if not sought:
                        break
        is_over = self._trees < 0 or self._bytes < 0
        absent = "?" if is_over else "/"
        return {oid: found.get(oid, "/" if oid in (pack, root) else absent) for oid in wanted}

    def _root_of(self, oid: ObjectId) -> ObjectId | None:
        with suppress(GtfsError):
            kind = TAG
            while kind == TAG:
                raw = self._reader.read(oid, _NAMED_BYTES)
                kind = raw.kind
                if kind == COMMIT:
                    return read_commit_names(raw.data or b"", self._fmt)[0]
                if kind == TAG:
                    oid = read_tag_target(raw.data or b"", self._fmt)[0]
            return oid if kind == TREE else None
        return None

    def _walk(self, root: ObjectId) -> Iterator[tuple[ObjectId, list[bytes]]]:
        """Each entry, as git lists them, and the names on the way to it; what is below a tree only the first time."""
        n = self._fmt.oid_bytes
        seen = {root}
        way: list[bytes] = [b""]
        stack = [iter(self._entries(root))]
        while stack:
            for entry in stack[-1]:
                oid = ObjectId(entry[-n:])
                way[-1] = entry_name(entry, n)
                yield oid, way
                if is_tree(entry) and oid not in seen:
                    seen.add(oid)
                    way.append(b"")
                    stack.append(iter(self._entries(oid)))
                    break
            else:
                stack.pop()
                way.pop()

    def _entries(self, oid: ObjectId) -> list[bytes]:
        """Of a tree; none where it cannot be read, or enough was."""
        self._trees -= 1
        if self._trees >= 0 and self._bytes >= 0:
            with suppress(GtfsError, NoTree):
                raw = self._reader.read(oid, self._bytes)
                self._bytes -= raw.size
                if raw.kind == TREE and raw.data is not None:
                    return Tree(raw.data, self._fmt.oid_bytes).entries()
        return []


def _shown(path: list[bytes]) -> str:
    text = b"/".join(path).decode("utf-8", "backslashreplace")
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return text if text.isprintable() else ascii(text)
