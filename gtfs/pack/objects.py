# SPDX-License-Identifier: GPL-3.0-or-later
"""What commits, trees and tags name: the few bytes of git objects that every station has to read.

Not a model of objects: nothing is kept, nothing is written back (a re-serialised tree loses its zero-padded modes), and
whether an object is acceptable is for `gtfs.ingest.checkobjects`. Any thread.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, TypeAlias, cast

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.pack.format import BLOB, COMMIT, KIND_NUMBERS, TREE, CorruptPack

TreeEntry: TypeAlias = tuple[bytes, bytes, ObjectId]

HEADER_BYTES: Final = 4 << 20  # of a commit or tag, design.md §13
_PIECE_BYTES: Final = 1 << 20  # of a tree: its entries take ten times as much once they are split
_LEAST_BYTES: Final = 4  # of an entry, beside the id
_TYPE_BITS: Final = 0o170000
_USUAL_KINDS: Final = {b"40000": TREE, b"100644": BLOB, b"100755": BLOB, b"120000": BLOB, b"160000": COMMIT}
_TYPED_KINDS: Final = {0o040000: TREE, 0o160000: COMMIT}

# The last alternative swallows all that follows a broken entry, so that a hostile tree costs one pass and not one
# pass for each byte, and shows itself as a last match without a mode.
_ENTRIES: Final = {n: re.compile(rb"([0-7]++) ([^\0]++)\0(.{%d})|.+" % n, re.DOTALL) for n in (20, 32)}
_COMMIT: Final = {
    n: re.compile(rb"tree ([0-9a-fA-F]{%d})\n((?:parent [0-9a-fA-F]{%d}\n)*+)(?!parent )" % (2 * n, 2 * n))
    for n in (20, 32)
}
_TAG: Final = {n: re.compile(rb"object ([0-9a-fA-F]{%d})\ntype (commit|tree|blob|tag)\n" % (2 * n)) for n in (20, 32)}
_MADE: Final = re.compile(rb"\n(?:committer|tagger) [^\n]*> *(\d{1,18})(?![0-9])")


def kind_of_mode(mode: bytes) -> int:
    """TREE, BLOB, or COMMIT for a gitlink, whose commit is another repository's.

    ``mode`` is octal digits as they stand in a tree. As git reads them, only the type bits count (design.md §3.1).
    """
    kind = _USUAL_KINDS.get(mode)
    # Six octal digits hold all of the type bits; more may stand before them.
    return _TYPED_KINDS.get(int(mode[-6:], 8) & _TYPE_BITS, BLOB) if kind is None else kind


class TreeEntries:
    """The entries of a tree in their order, as (mode, name, id); modes are octal digits as they stand there.

    They are split anew each time, and all at once only in a small tree. An iteration raises `CorruptPack` where it
    comes to what is no whole entry with a name.
    """

    def __init__(self, raw: bytes, fmt: ObjectFormat) -> None:
        self._raw = raw
        self._oid_bytes = fmt.oid_bytes
        self._all = list(self._split()) if len(raw) <= _PIECE_BYTES else None
        self.is_small = self._all is not None
        self.most = len(raw) // (_LEAST_BYTES + fmt.oid_bytes)  # of them there can be

    def __iter__(self) -> Iterator[TreeEntry]:
        return chain.from_iterable(self.pieces())

    def pieces(self) -> Iterable[list[TreeEntry]]:
        """Some at a time, never none."""
        return self._split() if self._all is None else self._all

    def _split(self) -> Iterator[list[TreeEntry]]:
        raw, entries, at = self._raw, _ENTRIES[self._oid_bytes], 0
        while at < len(raw):
            found = entries.findall(raw, at, at + _PIECE_BYTES)
            if found[-1][0] and at + _PIECE_BYTES >= len(raw):
                yield cast("list[TreeEntry]", found)
                return
            if not found[-1][0]:  # broken, or cut off
                found.pop()
            if not found:
                one = entries.match(raw, at)
                if one is None or not one[1]:
                    raise CorruptPack("a tree that is not a run of whole entries", at)
                found.append(one.groups())
            yield cast("list[TreeEntry]", found)
            at += sum(len(mode) + len(name) + self._oid_bytes + 2 for mode, name, _ in found)


def tree_entries(raw: bytes, fmt: ObjectFormat) -> TreeEntries:
    """The entries of a tree; raises `CorruptPack` at once for a small one that is no run of whole entries."""
    return TreeEntries(raw, fmt)


def check_header(raw: bytes) -> None:
    """Raises `CorruptPack` for a commit or tag with a header over the limit: readers may make lists of its lines."""
    if len(raw) > HEADER_BYTES and raw.find(b"\n\n", 0, HEADER_BYTES + 2) < 0:
        raise CorruptPack(f"over the limit header: more than {HEADER_BYTES} bytes before the message")


def read_commit_names(raw: bytes, fmt: ObjectFormat) -> tuple[ObjectId, tuple[ObjectId, ...]]:
    """The tree and the parents, repeats included, that a commit names; raises `CorruptPack`, also by `check_header`."""
    check_header(raw)
    m = _COMMIT[fmt.oid_bytes].match(raw)
    if m is None:
        raise CorruptPack("a commit whose tree or parent lines cannot be read")
    tree, parents = m.groups()
    ids = tuple([ObjectId(unhexlify(line[7:])) for line in parents.splitlines()]) if parents else ()
    return ObjectId(unhexlify(tree)), ids


def read_tag_target(raw: bytes, fmt: ObjectFormat) -> tuple[ObjectId, int]:
    """The id that a tag object names and the kind it says that object has; raises `CorruptPack`, likewise."""
    check_header(raw)
    m = _TAG[fmt.oid_bytes].match(raw)
    if m is None:
        raise CorruptPack("a tag whose object or type line cannot be read")
    return ObjectId(unhexlify(m[1])), KIND_NUMBERS[m[2]]


def read_made_s(raw: bytes) -> int | None:
    """The committer's or tagger's time in seconds since 1970, or None where no such line or date can be read."""
    head = raw.partition(b"\n\n")[0]
    m = _MADE.search(head)
    return int(m[1]) if m else None
