# SPDX-License-Identifier: GPL-3.0-or-later
"""One commit, tree or tag by itself, as the way in judges it: a tree under a commit that has no fault."""

from __future__ import annotations

from gtfs.ids import SHA1
from gtfs.ingest.checkobjects import check_pack
from gtfs.ingest.faults import EVERYTHING, Finding
from gtfs.pack.decode import Decoded
from gtfs.pack.format import BLOB, COMMIT, KIND_NAMES, TREE
from gtfs.pack.limits import Limits
from gtfs.pack.scan import Entry

_WHO = b"A U Thor <author@example.org> 1700000000 +0000\n"
_ENTRY = Entry(12, BLOB, 0, None, None, 13, 30, 0)


def _decoded(kind: int, data: bytes) -> Decoded:
    return Decoded(SHA1.hash_object(KIND_NAMES[kind], data), kind, len(data), data, _ENTRY)


def find_in(kind: int, data: bytes) -> list[Finding]:
    """Every fault that it has; raises `BadObject` for what nobody may have."""
    items = [_decoded(kind, data)]
    if kind == TREE:
        root = items[0].oid.hex().encode()
        items.insert(0, _decoded(COMMIT, b"tree %s\nauthor %scommitter %s\n" % (root, _WHO, _WHO)))
    findings: list[Finding] = []
    check_pack(None, items, SHA1, Limits(), leniency=EVERYTHING, findings=findings)
    return findings
