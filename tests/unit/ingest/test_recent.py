# SPDX-License-Identifier: GPL-3.0-or-later
"""What was let in last is at hand, and takes no more memory than it may, however small each object is."""

from __future__ import annotations

import pytest

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest import recent
from gtfs.ingest.recent import ENTRY_BYTES, Recent
from gtfs.pack.decode import Decoded
from gtfs.pack.format import BLOB, COMMIT, REF_DELTA
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


def delta(number: int, base: Decoded) -> Decoded:
    made = blob(number)
    return made._replace(entry=WHOLE._replace(kind=REF_DELTA, base=base.oid))


def test_a_long_line_of_versions_leaves_room_for_what_nothing_was_made_of_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 8 * (ENTRY_BYTES + 10))
    held = Recent()
    first, *others = (blob(number) for number in range(6))
    held.put_bases([first, *others])
    versions = [first]
    for number in range(10, 30):
        versions.append(delta(number, versions[-1]))
        held.put_bases([versions[-1]])
    kept = [number for number, one in enumerate(versions) if held.get(one.oid) is not None]
    assert kept == [18, 19, 20]  # the last, and a quarter of the room for what was used
    assert all(held.get(one.oid) is not None for one in others)


def test_what_is_used_again_is_still_there_if_that_is_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 8 * (ENTRY_BYTES + 10))
    held = Recent()
    base = blob(0)
    held.put_bases([base, delta(1, base), blob(2), blob(3)])
    for number in range(10, 40):
        assert held.get(base.oid) == (BLOB, base.data)
        held.put_bases([delta(number, base)])
    assert held.get(blob(2).oid) is None and held.get(blob(39).oid) is not None


def test_what_was_sought_elsewhere_takes_no_room_from_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 8 * (ENTRY_BYTES + 10))
    held = Recent()
    new = [blob(number) for number in range(6)]
    held.put_bases(new)
    old = [blob(number) for number in range(10, 30)]
    for one in old:
        assert one.data is not None
        held.put(one.oid, (BLOB, one.data))
        assert held.get(one.oid) == (BLOB, one.data)
    assert all(held.get(one.oid) is not None for one in new)
    held.clear()
    assert all(held.get(one.oid) is None for one in [*new, *old])


def test_no_delta_stands_on_a_commit() -> None:
    held = Recent()
    commit = Decoded(ObjectId(bytes(20)), COMMIT, 10, b"0123456789", WHOLE)
    held.put_bases([commit])
    assert held.get(commit.oid) is None
    held.put_bases([blob(1)])
    held.clear()
    assert held.get(blob(1).oid) is None
