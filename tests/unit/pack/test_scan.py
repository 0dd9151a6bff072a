# SPDX-License-Identifier: GPL-3.0-or-later
"""The scan believes nothing that a pack says about its own lengths."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import madepacks as made
import pytest

from gtfs.ids import SHA1, SHA256, ObjectId, PackDigest
from gtfs.pack.account import Needs
from gtfs.pack.decode import decode
from gtfs.pack.format import BLOB, COMMIT, HEADER, OFS_DELTA, REF_DELTA, TREE, CorruptPack, LimitExceeded, entry_header
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.scan import inflate, inflate_stream, scan

pytestmark = pytest.mark.usefixtures("each_way")

LIMITS = Limits()
VECTORS = Path(__file__).parents[2] / "vectors"
BASE = ObjectId(b"\x11" * 20)
TEXT = b"some text that repeats, some text that repeats, and ends\n"
GOOD = made.pack(
    made.whole(COMMIT, made.commit(BASE)),
    made.whole(TREE, b"100644 f\0" + BASE),
    made.ref_delta(BASE, made.delta(100, 120, made.copy(0, 100), made.insert(b"x" * 20))),
    made.whole(BLOB, random.Random(1).randbytes(300_000)),
    made.whole(BLOB, b""),
)


def test_a_good_pack_is_described_entry_by_entry() -> None:
    found = scan(GOOD, SHA1, LIMITS)
    assert [e.kind for e in found.entries] == [COMMIT, TREE, REF_DELTA, BLOB, BLOB]
    assert [e.size for e in found.entries][3:] == [300_000, 0]
    assert found.entries[2].base == BASE
    assert found.entries[2].result_size == 120
    assert found.entries[0].offset == HEADER.size
    assert all(a.end == b.offset for a, b in zip(found.entries, found.entries[1:], strict=False))
    assert found.entries[-1].end + 20 == found.length == len(GOOD)
    assert found.trailer == GOOD[-20:]
    assert found.digest == hashlib.sha256(GOOD).digest()
    assert inflate(GOOD, found.entries[1]) == b"100644 f\0" + BASE
    assert b"".join(inflate_stream(GOOD, found.entries[3])) == inflate(GOOD, found.entries[3])


def test_git_s_own_pack_with_offset_deltas_is_good() -> None:
    data = (VECTORS / "odd-repository.pack").read_bytes()
    found = scan(memoryview(data), SHA1, LIMITS)
    assert len(found.entries) == HEADER.unpack_from(data)[2]
    deltas = [e for e in found.entries if e.kind == OFS_DELTA]
    assert deltas
    assert {e.base_offset for e in deltas} <= {e.offset for e in found.entries}


def test_a_sha256_pack_has_long_bases_and_a_long_trailer() -> None:
    base = ObjectId(b"\x22" * 32)
    data = made.pack(made.ref_delta(base, made.delta(1, 1, made.copy(0, 1))), fmt=SHA256)
    found = scan(data, SHA256, LIMITS)
    assert found.entries[0].base == base
    assert len(found.trailer) == 32


def test_kept_streams_are_those_that_fit() -> None:
    found = scan(GOOD, SHA1, LIMITS, keep=1000)
    assert set(found.inflated) == {e.offset for e in found.entries if e.size < 1000}
    assert all(found.inflated[e.offset] == inflate(GOOD, e) for e in found.entries if e.size < 1000)
    assert not any(scan(GOOD, SHA1, LIMITS).inflated.values())
    assert len(scan(GOOD, SHA1, LIMITS, keep=MIB).inflated) == 5


def test_every_truncation_is_corrupt() -> None:
    data = made.pack(made.whole(COMMIT, made.commit(BASE)), made.ref_delta(BASE, made.delta(5, 5, made.copy(0, 5))))
    for length in range(len(data)):
        for prefix in (False, True):
            with pytest.raises(CorruptPack):
                scan(data[:length], SHA1, LIMITS, prefix=prefix)
        if length != len(data) - 20:
            with pytest.raises(CorruptPack):
                scan(made.seal(data[:length]), SHA1, LIMITS)


def test_trailing_bytes_are_corrupt() -> None:
    with pytest.raises(CorruptPack, match="trailer"):
        scan(GOOD + b"x", SHA1, LIMITS)
    with pytest.raises(CorruptPack, match="1 bytes after the last entry"):
        scan(made.seal(GOOD[:-20] + b"x"), SHA1, LIMITS)
    with pytest.raises(CorruptPack, match="after the last entry"):
        scan(made.seal(GOOD), SHA1, LIMITS)


def test_a_prefix_ends_where_its_trailer_says() -> None:
    found = scan(GOOD + b"PACK and more", SHA1, LIMITS, prefix=True)
    assert found == scan(GOOD, SHA1, LIMITS)
    with pytest.raises(CorruptPack, match="trailer"):
        scan(GOOD[:-1] + b"\0PACK and more", SHA1, LIMITS, prefix=True)


def test_a_wrong_trailer_and_a_broken_promise_are_corrupt() -> None:
    with pytest.raises(CorruptPack, match="trailer"):
        scan(GOOD[:-1] + bytes([GOOD[-1] ^ 1]), SHA1, LIMITS)
    scan(GOOD, SHA1, LIMITS, digest=PackDigest(hashlib.sha256(GOOD).digest()))
    with pytest.raises(CorruptPack, match="promised"):
        scan(GOOD, SHA1, LIMITS, digest=PackDigest(bytes(32)))


def test_a_wrong_count_is_corrupt() -> None:
    entry = made.whole(COMMIT, b"x" * 100)
    wrong = {0: "cannot be in", 1: "after the last entry", 3: "ends before entry 3", 99: "cannot be in"}
    for count, reason in wrong.items():
        with pytest.raises(CorruptPack, match=reason):
            scan(made.pack(entry, entry, count=count), SHA1, LIMITS)


def test_what_is_no_pack_is_corrupt() -> None:
    with pytest.raises(CorruptPack, match="magic"):
        scan(made.seal(b"KCAP" + GOOD[4:-20]), SHA1, LIMITS)
    with pytest.raises(CorruptPack, match="version 3"):
        scan(made.seal(b"PACK\0\0\0\3" + GOOD[8:-20]), SHA1, LIMITS)
    with pytest.raises(CorruptPack, match="too few"):
        scan(b"", SHA1, LIMITS)


@pytest.mark.parametrize("stated", [0, 99, 101, 70_000])
def test_an_entry_of_another_size_than_it_states_is_corrupt(stated: int) -> None:
    with pytest.raises(CorruptPack):
        scan(made.pack(made.whole(BLOB, b"x" * 100, stated)), SHA1, LIMITS)


def test_a_stream_that_goes_on_or_stops_short_is_corrupt() -> None:
    stream = zlib.compress(TEXT)
    for bad in (stream[:-1], stream[:-1] + b"\0", b"\0" + stream, stream + b"junk"):
        with pytest.raises(CorruptPack):
            scan(made.pack(entry_header(BLOB, len(TEXT)) + bad), SHA1, LIMITS)


def test_a_stream_of_many_empty_blocks_is_followed_to_its_end() -> None:
    deflater = zlib.compressobj(1)
    stream = deflater.compress(TEXT)
    for _ in range(20_000):
        stream += deflater.flush(zlib.Z_SYNC_FLUSH) + deflater.flush(zlib.Z_FULL_FLUSH)
    stream += b"\0\0\0\xff\xff" * 50_000 + deflater.flush()
    found = scan(made.pack(entry_header(BLOB, len(TEXT)) + stream), SHA1, LIMITS, keep=MIB)
    assert list(found.inflated.values()) == [TEXT]


def test_headers_that_do_not_end_or_are_padded_are_corrupt() -> None:
    stream = zlib.compress(b"x")
    for head in (b"\xb1" + b"\x80" * 20, b"\xb1\x80\0", b"\xb1\0"):
        with pytest.raises(CorruptPack, match="header"):
            scan(made.pack(head + stream), SHA1, LIMITS)
    for kind in (0, 5):
        with pytest.raises(CorruptPack, match="unknown kind"):
            scan(made.pack(entry_header(kind, 1) + stream), SHA1, LIMITS)


def test_an_offset_delta_must_stand_on_an_earlier_entry() -> None:
    blob = made.whole(BLOB, TEXT)
    same = made.delta(len(TEXT), len(TEXT), made.copy(0, len(TEXT)))
    assert scan(made.pack(blob, made.ofs_delta(len(blob), same)), SHA1, LIMITS).entries[1].base_offset == HEADER.size
    for distance in (0, 1, len(blob) - 1, len(blob) + 1, 1 << 40):
        with pytest.raises(CorruptPack, match="base would start"):
            scan(made.pack(blob, made.ofs_delta(distance, same)), SHA1, LIMITS)
    with pytest.raises(CorruptPack, match="does not end"):
        scan(made.pack(blob, entry_header(OFS_DELTA, 5) + b"\xff" * 30 + zlib.compress(same)), SHA1, LIMITS)


def test_a_delta_without_its_sizes_is_corrupt() -> None:
    for head in (b"", b"\x80", b"\x05", b"\x05\xff", b"\xff" * 30):
        with pytest.raises(CorruptPack, match="two sizes"):
            scan(made.pack(made.ref_delta(BASE, head)), SHA1, LIMITS)


def test_each_limit_is_held_and_named() -> None:
    small = made.pack(made.whole(BLOB, b"x" * 1000), made.ref_delta(BASE, made.delta(10, 2000, b"\x01x" * 500)))
    for limits, name in (
        (replace(LIMITS, objects=1), "objects"),
        (replace(LIMITS, object_bytes=999), "object_bytes"),
        (replace(LIMITS, object_bytes=1999), "object_bytes"),
        (replace(LIMITS, delta_bytes=900), "delta_bytes"),
        (replace(LIMITS, expanded_bytes=2999), "expanded_bytes"),
    ):
        with pytest.raises(LimitExceeded, match=name) as caught:
            scan(small, SHA1, limits)
        assert caught.value.limit == name
    scan(small, SHA1, replace(LIMITS, objects=2, object_bytes=2000, delta_bytes=1003, expanded_bytes=3000))


def test_a_delta_bomb_of_16_kilobytes_is_refused_unexpanded() -> None:
    """facts.md: such a pack took 8.2 GiB in index-pack and 16.4 GiB in dulwich, and both accepted it."""
    base = b"\0" * (8 * MIB)
    instructions = made.delta(len(base), 8 << 30, made.copy(0, 0xFFFFFF) * 512)
    bomb = made.pack(made.whole(BLOB, base), made.ref_delta(SHA1.hash_object(b"blob", base), instructions))
    assert len(bomb) < 40_000
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match="object_bytes"):
            scan(bomb, SHA1, LIMITS, keep=MIB)
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_two_thousand_modest_deltas_are_refused_for_their_sum() -> None:
    """facts.md: 112 KB that expanded to 33 GB."""
    base = b"\0" * (16 * MIB)
    copy_all = made.delta(len(base), len(base), made.copy(0, 0xFFFFFF), made.copy(0, 1))
    deltas = [made.ref_delta(SHA1.hash_object(b"blob", base), copy_all)] * 2000
    bomb = made.pack(made.whole(BLOB, base), *deltas)
    assert len(bomb) < 200_000
    with pytest.raises(LimitExceeded, match="expansion"):
        scan(bomb, SHA1, LIMITS)
    with pytest.raises(LimitExceeded, match="expansion"):
        scan(bomb, SHA1, LIMITS, prefix=True)


def test_deltas_on_each_other_make_as_much_as_deltas_on_one_base_and_are_refused_alike() -> None:
    """A chain by ids looks, entry by entry, like a line changed in each of many files; decoding finds its bases."""
    at = b"\0" * (16 * MIB)
    entries = [made.whole(BLOB, at)]
    for i in range(20):
        step = made.delta(len(at), len(at), made.insert(b"%04d" % i), made.copy(4, len(at) - 4))
        entries.append(made.ref_delta(SHA1.hash_object(b"blob", at), step))
        at = b"%04d" % i + at[4:]
    bomb = made.pack(*entries)
    found = scan(bomb, SHA1, LIMITS)
    with pytest.raises(LimitExceeded, match="expansion"):
        decode(bomb, found, SHA1, LIMITS, {}.get)


def test_one_line_changed_in_each_of_many_large_files_is_an_ordinary_commit() -> None:
    entries = [
        made.ref_delta(ObjectId(bytes([i]) * 20), made.delta(30 * MIB, 30 * MIB, made.copy(0, 0xFFFFFF)))
        for i in range(1, 50)
    ]
    assert scan(made.pack(*entries), SHA1, LIMITS).expanded_bytes() == 49 * 30 * MIB
    again = made.ref_delta(ObjectId(bytes([1]) * 20), made.delta(30 * MIB, 30 * MIB, made.copy(0, 0xFFFFFF)))
    with pytest.raises(LimitExceeded, match="expansion"):
        scan(made.pack(*entries, again, again, again), SHA1, LIMITS)


def test_a_sparse_file_expands_by_what_deflate_can_and_is_an_ordinary_file() -> None:
    found = scan(made.pack(made.whole(BLOB, bytes(70 * MIB))), SHA1, LIMITS)
    assert found.length < 400_000
    assert found.needs == Needs(object_bytes=70 * MIB)


def test_what_a_pack_needs_is_told_from_some_size_on() -> None:
    assert scan(made.pack(made.whole(BLOB, b"x" * 1000)), SHA1, LIMITS).needs == Needs()
    needs = scan(made.pack(*[made.whole(BLOB, bytes(30 * MIB) + bytes([i])) for i in range(9)]), SHA1, LIMITS).needs
    assert needs == Needs(expanded_bytes=9 * (30 * MIB + 1))
    assert needs.and_those_of(Needs(object_bytes=5)) == Needs(object_bytes=5, expanded_bytes=9 * (30 * MIB + 1))
    assert needs.beyond(LIMITS) is None
    assert needs.beyond(replace(LIMITS, expanded_bytes=MIB)) == ("expanded_bytes", MIB, 9 * (30 * MIB + 1))


def test_a_tree_that_is_too_large_to_hold_is_refused_before_it_is_inflated() -> None:
    tree = made.pack(made.whole(TREE, bytes(2000)))
    with pytest.raises(LimitExceeded, match="structure_bytes"):
        scan(tree, SHA1, replace(LIMITS, structure_bytes=1000))
