# SPDX-License-Identifier: GPL-3.0-or-later
"""What commits, trees and tags name: the few bytes of git objects that every station has to read.

Not a model of objects: nothing is kept, nothing is written back (a re-serialised tree loses its zero-padded modes), and
whether an object is acceptable is for `gtfs.ingest.checkobjects`. Any thread.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from typing import Final, cast

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.pack.format import BLOB, COMMIT, KIND_NUMBERS, TREE, CorruptPack

HEADER_BYTES: Final = 4 << 20  # of a commit or tag, design.md §13
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


def tree_entries(raw: bytes, fmt: ObjectFormat) -> list[tuple[bytes, bytes, ObjectId]]:
    """The entries of a tree in their order, as (mode, name, id); modes are octal digits as they stand there.

    Raises `CorruptPack` if the tree is not a run of whole entries with non-empty names.
    """
    found = _ENTRIES[fmt.oid_bytes].findall(raw)
    if found and not found[-1][0]:
        whole = sum(len(mode) + len(name) + fmt.oid_bytes + 2 for mode, name, _ in found[:-1])
        raise CorruptPack("a tree that is not a run of whole entries", whole)
    return cast("list[tuple[bytes, bytes, ObjectId]]", found)


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
