# SPDX-License-Identifier: GPL-3.0-or-later
"""Every object of a pack comes out with its own id, or the pack is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import madepacks as made
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtfs.ids import SHA1, SHA256, ObjectFormat, ObjectId
from gtfs.pack import decode as decode_module
from gtfs.pack.decode import Decoded, Lookup, MissingBase, decode, measure_delta, reread
from gtfs.pack.format import BLOB, COMMIT, KIND_NAMES, REF_DELTA, TAG, TREE, CorruptPack, LimitExceeded
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.scan import scan

pytestmark = pytest.mark.usefixtures("each_way")

LIMITS = Limits()
VECTORS = Path(__file__).parents[2] / "vectors"
TEXT = random.Random(2).randbytes(1000)
BLOB_ID = SHA1.hash_object(b"blob", TEXT)


def nothing(oid: ObjectId) -> None:
    return None


def grow(base: bytes, more: bytes) -> bytes:
    return made.delta(len(base), len(base) + len(more), made.copy(0, len(base)), made.insert(more))


def read(data: bytes, lookup: Lookup = nothing, limits: Limits = LIMITS, fmt: ObjectFormat = SHA1) -> list[Decoded]:
    return decode(data, scan(data, fmt, limits, keep=4 * MIB), fmt, limits, lookup)


def test_git_s_own_pack_gives_every_object_of_the_vectors() -> None:
    data = (VECTORS / "odd-repository.pack").read_bytes()
    decoded = read(data)
    for item in decoded:
        assert item.data is not None
        assert item.oid == SHA1.hash_object(KIND_NAMES[item.kind], item.data)
    lines = (line.split() for line in (VECTORS / "odd.entries").read_text().splitlines() if line.startswith(" "))
    wanted = {bytes.fromhex(fields[1]) for fields in lines}
    assert wanted == {item.oid for item in decoded}
    kept_nothing = decode(data, scan(data, SHA1, LIMITS), SHA1, LIMITS, nothing)
    assert kept_nothing == decoded


def test_bases_may_stand_before_behind_or_outside() -> None:
    outside = b"o" * 500
    outside_id = SHA1.hash_object(b"tree", outside)
    one, two = TEXT + b"1", TEXT + b"12"
    blob = made.whole(BLOB, TEXT)
    data = made.pack(
        made.ref_delta(SHA1.hash_object(b"blob", one), grow(one, b"2")),
        made.ref_delta(BLOB_ID, grow(TEXT, b"1")),
        made.ref_delta(outside_id, grow(outside, b"!")),
        blob,
        made.ofs_delta(len(blob), grow(TEXT, b"3")),
    )
    decoded = read(data, {outside_id: (TREE, outside)}.get)
    assert [(d.kind, d.data) for d in decoded] == [
        (BLOB, two),
        (BLOB, one),
        (TREE, outside + b"!"),
        (BLOB, TEXT),
        (BLOB, TEXT + b"3"),
    ]
    assert [d.entry.kind for d in decoded[:3]] == [REF_DELTA] * 3


def test_a_chain_that_begins_outside_is_followed_behind_a_base_that_is_made_in_the_pack() -> None:
    chain = [TEXT + b"x" * i for i in range(20)]
    ids = [SHA1.hash_object(b"blob", data) for data in chain]
    entries = [made.ref_delta(ids[i], grow(chain[i], b"x")) for i in range(19)]
    random.Random(3).shuffle(entries)
    decoded = read(made.pack(*entries), {ids[0]: (BLOB, TEXT)}.get)
    assert {d.oid for d in decoded} == set(ids[1:])


def test_missing_bases_are_named() -> None:
    a, b = ObjectId(b"a" * 20), ObjectId(b"b" * 20)
    data = made.pack(made.whole(BLOB, b"x"), made.ref_delta(a, grow(TEXT, b"1")), made.ref_delta(b, grow(TEXT, b"1")))
    with pytest.raises(MissingBase, match=a.hex()) as caught:
        read(data)
    assert caught.value.bases == (a, b)
    assert caught.value.base == a


def test_deltas_that_could_only_stand_on_each_other_are_missing_their_bases() -> None:
    one, two = TEXT + b"1", TEXT + b"2"
    one_id, two_id = SHA1.hash_object(b"blob", one), SHA1.hash_object(b"blob", two)
    swap = [made.delta(1001, 1001, made.copy(0, 1000), made.insert(end)) for end in (b"1", b"2")]
    data = made.pack(made.ref_delta(two_id, swap[0]), made.ref_delta(one_id, swap[1]))
    with pytest.raises(MissingBase):
        read(data)
    assert [d.oid for d in read(data, {one_id: (BLOB, one)}.get)] == [one_id, two_id]


@pytest.mark.parametrize(
    "instructions",
    [
        made.delta(999, 1000, made.copy(0, 1000)),
        made.delta(1000, 1000, made.copy(1, 1000)),
        made.delta(1000, 1000, made.copy(0, 999)),
        made.delta(1000, 1000, made.copy(0, 1000), made.insert(b"x")),
        made.delta(1000, 1000, made.copy(0, 999), b"\0"),
        made.delta(1000, 1000, made.copy(0, 999), b"\x05abc"),
        made.delta(1000, 1000, made.copy(0, 999), b"\xff\1"),
        made.delta(1000, 1000),
    ],
)
def test_a_delta_that_does_not_fit_is_corrupt(instructions: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made.pack(made.whole(BLOB, TEXT), made.ref_delta(BLOB_ID, instructions))
    for compiled in (True, False):
        monkeypatch.setattr(decode_module, "_stops_in_time", lambda _apply_delta, stops=compiled: stops)
        with pytest.raises(CorruptPack, match="delta"):
            read(data)


def test_instructions_are_measured_without_being_followed() -> None:
    bomb = made.delta(1 << 24, 10, made.copy(0, 0xFFFFFF) * 100_000)
    data = made.pack(made.ref_delta(BLOB_ID, bomb))
    with pytest.raises(CorruptPack, match="instructions"):
        measure_delta(bomb, scan(data, SHA1, LIMITS).entries[0])
    fit = made.delta(1000, 1003 + 0x10000, made.copy(0, 1000), made.insert(b"abc"), b"\x80")
    measure_delta(fit, scan(made.pack(made.ref_delta(BLOB_ID, fit)), SHA1, LIMITS).entries[0])


def test_the_depth_of_deltas_is_limited() -> None:
    entries, data = [made.whole(BLOB, TEXT)], TEXT
    for _ in range(5):
        entries.append(made.ref_delta(SHA1.hash_object(b"blob", data), grow(data, b"x")))
        data += b"x"
    assert len(read(made.pack(*entries), limits=replace(LIMITS, delta_depth=5))) == 6
    with pytest.raises(LimitExceeded, match="delta_depth"):
        read(made.pack(*entries), limits=replace(LIMITS, delta_depth=4))
    outside: dict[ObjectId, tuple[int, bytes]] = {BLOB_ID: (BLOB, TEXT)}
    assert len(read(made.pack(*entries[1:]), outside.get, replace(LIMITS, delta_depth=5))) == 5
    with pytest.raises(LimitExceeded, match="delta_depth"):
        read(made.pack(*entries[1:]), outside.get, replace(LIMITS, delta_depth=4))


def test_a_very_deep_chain_needs_no_recursion() -> None:
    entries, distance, data = [made.whole(BLOB, TEXT)], 0, TEXT
    for _ in range(4000):
        distance = len(entries[-1])
        entries.append(made.ofs_delta(distance, made.delta(1000, 1000, made.copy(1, 999), made.insert(b"z"))))
        data = data[1:] + b"z"
    assert read(made.pack(*entries))[-1].data == data


def test_equal_objects_are_both_given() -> None:
    entry = made.whole(BLOB, TEXT)
    decoded = read(made.pack(entry, entry, made.ref_delta(BLOB_ID, grow(TEXT, b"1"))))
    assert [d.oid for d in decoded[:2]] == [BLOB_ID, BLOB_ID]


def test_sha256_ids() -> None:
    data = made.pack(
        made.whole(BLOB, TEXT), made.ref_delta(SHA256.hash_object(b"blob", TEXT), grow(TEXT, b"1")), fmt=SHA256
    )
    assert [d.oid for d in read(data, fmt=SHA256)] == [SHA256.hash_object(b"blob", t) for t in (TEXT, TEXT + b"1")]


def test_a_blob_over_the_stream_size_is_hashed_but_not_held_and_can_be_read_again() -> None:
    big = bytes(33 * MIB)
    big_id = SHA1.hash_object(b"blob", big)
    data = made.pack(made.whole(BLOB, big), made.ref_delta(big_id, grow(big, b"end")))
    decoded = read(data)
    assert [(d.oid, d.data) for d in decoded] == [(big_id, None), (SHA1.hash_object(b"blob", big + b"end"), None)]
    again = reread(data, decoded, nothing)
    assert again(decoded[1].oid) == big + b"end"
    assert again(BLOB_ID) is None


def test_a_pack_that_expands_widely_is_decoded_from_a_small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "HELD_BYTES", 5000)
    rng = random.Random(4)
    outside = rng.randbytes(1000)
    outside_id = SHA1.hash_object(b"blob", outside)
    made_so_far = [outside, TEXT]
    entries = [made.whole(BLOB, TEXT), made.whole(COMMIT, made.commit(BLOB_ID))]
    for i in range(300):
        base = rng.choice(made_so_far[:2] + made_so_far[-10:])
        entries.append(made.ref_delta(SHA1.hash_object(b"blob", base), grow(base, b"%d" % i)))
        made_so_far.append(base + b"%d" % i)
    decoded = read(made.pack(*entries), {outside_id: (BLOB, outside)}.get)
    assert {d.oid for d in decoded if d.kind == BLOB} == {SHA1.hash_object(b"blob", d) for d in made_so_far[1:]}
    assert [d.kind for d in decoded if d.data is not None] == [COMMIT]
    again = reread(made.pack(*entries), decoded, {outside_id: (BLOB, outside)}.get)
    assert all(again(SHA1.hash_object(b"blob", d)) == d for d in made_so_far[1:])


def test_commits_trees_and_tags_have_a_limit_of_their_own() -> None:
    limits = replace(LIMITS, structure_bytes=1500)
    grown = made.ref_delta(SHA1.hash_object(b"tree", TEXT), grow(TEXT, b"1"))
    for second in (made.whole(TAG, TEXT), grown):
        with pytest.raises(LimitExceeded, match="structure_bytes"):
            read(made.pack(made.whole(TREE, TEXT), second), limits=limits)
    assert len(read(made.pack(made.whole(TREE, TEXT), made.whole(BLOB, TEXT)), limits=limits)) == 2


SMALL = made.pack(
    made.whole(COMMIT, made.commit(BLOB_ID)),
    made.whole(BLOB, TEXT[:100]),
    made.ref_delta(SHA1.hash_object(b"blob", TEXT[:100]), grow(TEXT[:100], b"1")),
    made.ref_delta(BLOB_ID, grow(TEXT, b"1")),
)


def _flip(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def _cut(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + data[at + mask :]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    harm=st.lists(
        st.tuples(st.sampled_from([_flip, _cut]), st.integers(0, len(SMALL) - 21), st.integers(1, 255)),
        min_size=1,
        max_size=4,
    ),
    reseal=st.booleans(),
    prefix=st.booleans(),
)
def test_harmed_packs_are_corrupt_and_nothing_else(
    harm: list[tuple[Callable[[bytes, int, int], bytes], int, int]], reseal: bool, prefix: bool
) -> None:
    body = SMALL[:-20]
    for how, at, mask in harm:
        body = how(body, min(at, len(body) - 1), mask) if body else body
    data = made.seal(body) if reseal else body + SMALL[-20:]
    try:
        found = scan(data, SHA1, LIMITS, prefix=prefix)
        decoded = decode(data, found, SHA1, LIMITS, {BLOB_ID: (BLOB, TEXT)}.get)
    except CorruptPack:
        return
    assert reseal or data == SMALL
    for item in decoded:
        assert item.data is not None
        assert item.oid == SHA1.hash_object(KIND_NAMES[item.kind], item.data)


def test_every_single_flipped_byte_of_a_pack_is_noticed() -> None:
    for at in range(len(SMALL)):
        with pytest.raises(CorruptPack):
            scan(_flip(SMALL, at, 0x40), SHA1, LIMITS)
