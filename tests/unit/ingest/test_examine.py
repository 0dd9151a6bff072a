# SPDX-License-Identifier: GPL-3.0-or-later
"""A pack that is examined again is decoded once, and judged by what is known and demanded then."""

from __future__ import annotations

import zlib

import pytest

from gtfs.ids import SHA1, ObjectId, PackDigest
from gtfs.ingest import examine
from gtfs.ingest.checkobjects import BadObject
from gtfs.ingest.examine import Examination, Examiner, Lookup
from gtfs.ingest.gate import PolicyGate
from gtfs.pack.format import BLOB, COMMIT, HEADER, MAGIC, TREE, VERSION, CorruptPack, entry_header
from gtfs.pack.limits import Limits
from gtfs.pack.trees import RawObject

LINK = SHA1.hash_object(b"blob", b".git/config")
TREE_DATA = b"120000 link\0" + LINK
COMMIT_DATA = (
    b"tree %s\nauthor A <a@example.org> 1 +0000\ncommitter A <a@example.org> 1 +0000\n\nx\n"
    % SHA1.hash_object(b"tree", TREE_DATA).hex().encode()
)
OID = SHA1.hash_object(b"commit", COMMIT_DATA)


def nothing(_oid: ObjectId, _most: int) -> None:
    return None


def giving(target: bytes) -> Lookup:
    """What gives the link this target."""
    return lambda oid, _most: RawObject(BLOB, len(target), target) if oid == LINK else None


def scanned(examiner: Examiner) -> Examination:
    """A commit with a link whose target is another pack's."""
    objects = [(COMMIT, COMMIT_DATA), (TREE, TREE_DATA)]
    body = HEADER.pack(MAGIC, VERSION, len(objects))
    body += b"".join(entry_header(kind, len(data)) + zlib.compress(data) for kind, data in objects)
    return examiner.scan(body + SHA1.new(body).digest(), OID)


def count_decoding(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    decode = examine.decode
    monkeypatch.setattr(examine, "decode", lambda *args: counted.append(1) or decode(*args))
    return counted


def test_a_link_whose_target_came_since_the_last_look_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = count_decoding(monkeypatch)
    examiner = Examiner(SHA1, Limits(), PolicyGate())
    pack = scanned(examiner)
    examiner.examine(pack, None, nothing, lambda _parents: [], keep=True)
    lookup = giving(b".git/config")
    with pytest.raises(BadObject, match="linkIntoDotgit"):
        examiner.examine(pack, None, lookup, lambda _parents: [], keep=True)
    assert counted == [1]


def test_what_was_decoded_for_a_look_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = count_decoding(monkeypatch)
    examiner = Examiner(SHA1, Limits(), PolicyGate())
    pack = scanned(examiner)
    lookup = giving(b"file")
    first = examiner.examine(pack, None, lookup, lambda _parents: [], keep=True)
    assert examiner.examine(pack, None, lookup, lambda _parents: []).decoded == first.decoded
    assert counted == [1]


def test_a_pack_that_was_scanned_is_not_taken_for_another_that_is_promised() -> None:
    examiner = Examiner(SHA1, Limits(), PolicyGate())
    with pytest.raises(CorruptPack, match="as promised"):
        examiner.examine(scanned(examiner), PackDigest(bytes(32)), nothing, lambda _parents: [])
