# SPDX-License-Identifier: GPL-3.0-or-later
"""What was let in last is at hand, and takes no more memory than it may, however small each object is."""

from __future__ import annotations

import pytest

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest import recent
from gtfs.ingest.recent import ENTRY_BYTES, Recent
from gtfs.pack.decode import Decoded
from gtfs.pack.format import BLOB, COMMIT
from gtfs.pack.scan import Entry

WHOLE = Entry(0, BLOB, 10, None, None, 0, 10, 10)


def blob(number: int) -> Decoded:
    data = b"%010d" % number
    return Decoded(SHA1.hash_object(b"blob", data), BLOB, len(data), data, WHOLE)


@pytest.mark.parametrize("by_packs", [True, False])
def test_of_tiny_objects_there_are_as_many_as_there_is_memory_for(
    monkeypatch: pytest.MonkeyPatch, by_packs: bool
) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 100 * (ENTRY_BYTES + 10))
    held = Recent()
    blobs = [blob(number) for number in range(300)]
    for one in blobs:
        assert one.data is not None
        if by_packs:
            held.put_bases([one])
        else:
            held.put(one.oid, (BLOB, one.data))
    assert [held.get(one.oid) is not None for one in blobs] == [False] * 200 + [True] * 100


def test_what_was_asked_for_last_stays_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 3 * (ENTRY_BYTES + 10))
    held = Recent()
    first, second, third, fourth = (blob(number) for number in range(4))
    held.put_bases([first, second, third])
    assert held.get(first.oid) == (BLOB, first.data)
    held.put_bases([fourth])
    assert held.get(first.oid) is not None and held.get(second.oid) is None


def test_no_delta_stands_on_a_commit() -> None:
    held = Recent()
    commit = Decoded(ObjectId(bytes(20)), COMMIT, 10, b"0123456789", WHOLE)
    held.put_bases([commit])
    assert held.get(commit.oid) is None
    held.put_bases([blob(1)])
    held.clear()
    assert held.get(blob(1).oid) is None
