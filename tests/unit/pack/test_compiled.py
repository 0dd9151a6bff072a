# SPDX-License-Identifier: GPL-3.0-or-later
"""The loops in C give what the Python gives, on good input and bad; what they do not give is left to the Python."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import madepacks as made
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gtfs.errors import GtfsError
from gtfs.ids import SHA1, SHA256, ObjectFormat, ObjectId
from gtfs.ingest import names
from gtfs.ingest.checkobjects import check_pack
from gtfs.ingest.faults import EVERYTHING, Finding
from gtfs.pack import compiled
from gtfs.pack.decode import Decoded, decode
from gtfs.pack.format import BLOB, COMMIT, HEADER, KIND_NAMES, OFS_DELTA, REF_DELTA, TAG, TREE, entry_header
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.scan import Entry, scan

VECTORS = Path(__file__).parents[2] / "vectors"
LIMITS = Limits()
TEXT = random.Random(5).randbytes(700) * 3
OUTSIDE = {SHA1.hash_object(b"blob", TEXT): (BLOB, TEXT), SHA1.hash_object(b"tree", b""): (TREE, b"")}
IDS = [*OUTSIDE, ObjectId(b"\0" * 20), ObjectId(b"\x11" * 20)]


def outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except GtfsError as e:
        return type(e), str(e), vars(e)


def both(work: Callable[[], Any]) -> Any:
    """What the work gives or raises, which must not depend on where it is done."""
    assert compiled.is_compiled()
    found = outcome(work)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_inner", None)
        assert outcome(work) == found
    return found


def take_in(data: bytes, limits: Limits, keep: int, prefix: bool = False, fmt: ObjectFormat = SHA1) -> Any:
    found = scan(data, fmt, limits, keep=keep, prefix=prefix)
    before = repr(found)  # the account goes on in `decode`
    return before, outcome(lambda: (decode(data, found, fmt, limits, OUTSIDE.get), found))


def walked(data: bytes, limits: Limits = LIMITS, keep: int = MIB) -> compiled.Walked | None:
    return compiled.walk(data, HEADER.size, len(data) - 20, HEADER.unpack_from(data)[2], 20, keep, limits)


def test_they_are_there() -> None:
    """CI must not fall back unnoticed."""
    assert compiled.is_compiled()


def test_without_them_everything_is_left_to_the_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_inner", None)
    assert walked(made.pack(made.whole(BLOB, b""))) is None
    assert compiled.apply(b"abc", made.delta(3, 3, made.copy(0, 3)), 3) is None
    assert compiled.look(b"", 20, 255, {}, bytes(256)) is None
    assert resolved(made.pack(made.whole(BLOB, b""))) is None


def test_a_pack_as_the_encoder_makes_it_is_walked_in_c() -> None:
    step = made.delta(len(TEXT), 3, made.insert(b"abc"))
    data = made.pack(made.whole(COMMIT, b"c"), made.whole(TREE, b"t"), made.ref_delta(IDS[0], step))
    found = walked(data)
    assert found is not None
    assert list(found.inflated.values()) == [b"c", b"t", step]


def test_git_s_own_pack_is_the_same_whatever_is_kept() -> None:
    data = (VECTORS / "odd-repository.pack").read_bytes()
    for keep in (0, 100, 5000, MIB):
        both(lambda keep=keep: take_in(data, LIMITS, keep))  # type: ignore[misc]


@pytest.mark.parametrize("fmt", [SHA1, SHA256], ids=lambda f: f.name)
def test_streams_of_every_size_and_make(fmt: ObjectFormat) -> None:
    random_bytes = random.Random(6).randbytes
    contents = [b"", b"x", bytes(65_535), bytes(65_536), random_bytes(65_537), random_bytes(200_000), bytes(33 * MIB)]
    entries = []
    for content in contents:
        entries.append(made.whole(BLOB, content))
        for level, strategy in ((0, 0), (9, 0), (6, zlib.Z_FIXED), (6, zlib.Z_HUFFMAN_ONLY)):
            deflater = zlib.compressobj(level, zlib.DEFLATED, 15, 8, strategy)
            entries.append(entry_header(BLOB, len(content)) + deflater.compress(content) + deflater.flush())
    small = made.pack(*entries[: 5 * 6], fmt=fmt)
    for keep in (0, 300_000, 4 * MIB):
        both(lambda keep=keep: take_in(small, LIMITS, keep, fmt=fmt))  # type: ignore[misc]
    both(lambda: take_in(made.pack(*entries, fmt=fmt), LIMITS, 4 * MIB, fmt=fmt))


BAD_STREAMS = (
    zlib.compress(TEXT)[:-1],
    zlib.compress(TEXT)[:-1] + b"\0",
    zlib.compress(TEXT)[:-4],
    zlib.compress(TEXT) + b"more",
    zlib.compress(TEXT[:-1]),
    zlib.compress(TEXT + b"x"),
    zlib.compress(TEXT) * 2,
    b"\x78\xbb" + zlib.compress(TEXT)[2:],  # asks for a dictionary
    b"\x78\xf9" + b"\0\0\0\1" + zlib.compress(TEXT)[2:],
    b"\x08\x1d" + zlib.compress(TEXT)[2:],  # a small window
    b"\x1f\x8b\x08" + bytes(30),  # gzip
    zlib.compress(TEXT)[2:],
    b"\x78\x01" + b"\0\0\0\xff\xff" * 5000,
    b"\x78\x01" + b"\0\0\0\xff\xff" * 5000 + zlib.compress(TEXT)[2:],
    b"\x78\x01\x03\x05",  # a distance to before the start
    b"",
)


@pytest.mark.parametrize("stream", BAD_STREAMS, ids=range(len(BAD_STREAMS)))
def test_streams_that_are_odd(stream: bytes) -> None:
    for kind in (BLOB, TREE, REF_DELTA):
        base = IDS[0] if kind == REF_DELTA else b""
        for stated in (len(TEXT), 0, 70_000, 1 << 33):
            data = made.pack(made.whole(BLOB, b"before"), entry_header(kind, stated) + base + stream)
            for keep in (0, MIB):
                both(lambda data=data, keep=keep: take_in(data, LIMITS, keep))  # type: ignore[misc]


BAD_HEADERS = (
    b"\xb0" + b"\x80" * 7 + b"\x01",
    b"\xb0" + b"\xff" * 7 + b"\x7f",
    b"\xb0" + b"\xff" * 8 + b"\x7f",
    b"\xb0" + b"\xff" * 9 + b"\x7f",
    b"\xb0" + b"\xff" * 30,
    b"\xb1\x80\0",
    b"\xb1\0",
    b"\x01",
    b"\x51",
    entry_header(BLOB, 1 << 32),
    entry_header(BLOB, (1 << 60) - 1),
    entry_header(BLOB, 1 << 61),
    entry_header(OFS_DELTA, 6) + b"\xff" * 8 + b"\x7f",
    entry_header(OFS_DELTA, 6) + b"\xff" * 30,
    entry_header(OFS_DELTA, 6) + b"\x80\x80\x80\x80\x80\x00",
    entry_header(OFS_DELTA, 6) + b"\0",
    entry_header(REF_DELTA, 6) + b"short",
)


@pytest.mark.parametrize("head", BAD_HEADERS, ids=range(len(BAD_HEADERS)))
@pytest.mark.parametrize("limits", [LIMITS, Limits(**dict.fromkeys(vars(LIMITS), 1 << 70))], ids=["usual", "none"])
def test_headers_that_are_odd(head: bytes, limits: Limits) -> None:
    whole = made.whole(BLOB, b"before")
    for tail in (b"", b"\x01", zlib.compress(b"x"), zlib.compress(made.delta(6, 6, made.copy(0, 6)))):
        for entries in ((head + tail,), (whole, head + tail), (head + tail, whole)):
            data = made.pack(*entries)
            both(lambda data=data: take_in(data, limits, MIB))  # type: ignore[misc]


def test_sizes_of_deltas_that_are_odd() -> None:
    padded = b"\x83\x80\x80\x80\x00"
    nine, ten, eleven = (b"\xff" * n + b"\x01" for n in (8, 9, 10))
    for base in (b"\x03", padded, nine, ten, eleven, b""):
        for result in (b"\x03", padded, nine, ten, eleven, b"\xff" * 40, b""):
            data = made.pack(made.ref_delta(IDS[0], base + result + b"\x03abc"))
            for limits in (LIMITS, Limits(**dict.fromkeys(vars(LIMITS), 1 << 70))):
                both(lambda data=data, limits=limits: take_in(data, limits, MIB))  # type: ignore[misc]


entries_of_packs = st.one_of(
    st.builds(made.whole, st.sampled_from([COMMIT, TREE, BLOB, TAG]), st.binary(max_size=60)),
    st.builds(lambda n, b: made.whole(BLOB, b * n), st.integers(0, 3000), st.binary(min_size=1, max_size=40)),
    st.builds(
        lambda base, cuts, more: made.ref_delta(
            base,
            made.delta(
                len(TEXT),
                sum(size for _, size in cuts) + len(more),
                *(made.copy(*cut) for cut in cuts),
                more and made.insert(more),
            ),
        ),
        st.sampled_from(IDS),
        st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 200)), max_size=4),
        st.binary(max_size=100),
    ),
    st.builds(made.ofs_delta, st.integers(0, 300), st.binary(max_size=30)),
    st.builds(made.ref_delta, st.sampled_from(IDS), st.binary(max_size=30)),
    st.binary(max_size=40),
)


def harm(data: bytes, harms: list[tuple[str, int, bytes]]) -> bytes:
    for how, at, more in harms:
        at = at % (len(data) + 1)
        if how == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (more[0] or 1)]) + data[at + 1 :]
        elif how == "cut":
            data = data[:at] + data[at + len(more) :]
        elif how == "put":
            data = data[:at] + more + data[at:]
        elif how == "end":
            data = data[: max(at, 12)]
    return data


harms_of_packs = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "put", "end"]), st.integers(12, 4000), st.binary(min_size=1, max_size=9)),
    max_size=3,
)
some_limits = st.builds(
    lambda changed: replace(LIMITS, **changed),
    st.dictionaries(
        st.sampled_from(["object_bytes", "delta_bytes", "delta_object_bytes", "structure_bytes", "expanded_bytes"]),
        st.integers(0, 3000),
        max_size=2,
    ),
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    entries=st.lists(entries_of_packs, min_size=1, max_size=6),
    harms=harms_of_packs,
    limits=some_limits,
    keep=st.sampled_from([0, 50, 1000, MIB]),
    more=st.integers(-1, 1),
    prefix=st.booleans(),
)
def test_any_pack(
    entries: list[bytes], harms: list[tuple[str, int, bytes]], limits: Limits, keep: int, more: int, prefix: bool
) -> None:
    body = harm(made.pack(*entries, count=len(entries) + more)[:-20], harms)
    both(lambda: take_in(made.seal(body) + b"PACK" * prefix, limits, keep, prefix))


REAL = (VECTORS / "odd-repository.pack").read_bytes()


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(at=st.lists(st.integers(12, len(REAL) - 21), min_size=1, max_size=3), mask=st.integers(1, 255))
def test_git_s_own_pack_with_bytes_flipped(at: list[int], mask: int) -> None:
    body = bytearray(REAL[:-20])
    for place in at:
        body[place] ^= mask
    both(lambda: take_in(made.seal(bytes(body)), LIMITS, MIB))


def test_what_deltas_make_of_nothing_is_held_to_the_pack_where_the_python_holds_it() -> None:
    size = 8 * MIB
    step = made.delta(size, size, made.copy(0, size))
    blob = made.whole(BLOB, bytes(size))
    on_it = made.ref_delta(SHA1.hash_object(b"blob", bytes(size)), step)
    near = made.ofs_delta(len(blob), step)
    for deltas in ([on_it] * 9, [on_it] * 10, [near] + [on_it] * 8, [near] + [on_it] * 9, [near]):
        for expansion in (1, 100, 5000):
            data, limits = made.pack(blob, *deltas), replace(LIMITS, expansion=expansion)
            both(lambda data=data, limits=limits: repr(scan(data, SHA1, limits)))  # type: ignore[misc]


def test_a_large_object_is_never_held_twice_nor_kept_beyond_what_was_asked_for() -> None:
    data = made.pack(made.whole(BLOB, bytes(5 * MIB)), made.whole(BLOB, bytes(MIB)))
    found = walked(data, keep=2 * MIB)
    assert found is not None
    assert [len(content) for content in found.inflated.values()] == [MIB]


@pytest.mark.parametrize(
    "arguments",
    [
        (b"x" * 50, 12, 51, 1, 20, 0, (1,) * 6),
        (b"x" * 50, -1, 50, 1, 20, 0, (1,) * 6),
        (b"x" * 50, 40, 30, 1, 20, 0, (1,) * 6),
        (b"x" * 50, 12, 50, 1, 21, 0, (1,) * 6),
        (b"x" * 50, 12, 50, 1, 20, 0, (1 << 63) - 1),
        (b"x" * 50, 12, 50, 1, 20, 0, (1, 1, 1, 1, (1 << 63) - 1, 1)),
    ],
    ids=range(6),
)
def test_arguments_that_make_no_sense_are_an_error_of_the_caller(arguments: tuple[Any, ...]) -> None:
    with pytest.raises((ValueError, TypeError)):
        compiled._inner.walk(*arguments)


def test_a_look_without_its_flags_or_its_dict_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="flags"):
        compiled._inner.look(b"", 20, 255, {}, b"")
    with pytest.raises(TypeError):
        compiled._inner.look(b"", 20, 255, [], bytes(256))


instructions = st.one_of(
    st.builds(made.insert, st.binary(min_size=1, max_size=127)),
    st.builds(made.copy, st.integers(0, 2100), st.integers(1, 2100)),
    st.builds(lambda code, tail: bytes([code | 0x80]) + tail, st.integers(0, 127), st.binary(max_size=7)),
    st.sampled_from([b"\0", b"\x80", b"\xff", b"\x05abc"]),
)


@settings(max_examples=600)
@given(
    steps=st.lists(instructions, max_size=8), base_size=st.sampled_from([len(TEXT), 0, 1]), size=st.integers(0, 4500)
)
def test_any_delta(steps: list[bytes], base_size: int, size: int) -> None:
    deltas = [made.delta(base_size, size, *steps), made.delta(len(TEXT), size, *steps)]
    true = made_size(steps)
    deltas.append(made.delta(len(TEXT), true, *steps))
    for delta in deltas:
        both(lambda delta=delta: take_in(made.pack(made.ref_delta(IDS[0], delta)), LIMITS, MIB))  # type: ignore[misc]


def made_size(steps: list[bytes]) -> int:
    """How much good instructions make; any number for others."""
    total, data, at = 0, b"".join(steps), 0
    while at < len(data):
        code, at = data[at], at + 1
        if code & 0x80:
            at += (code & 0x0F).bit_count()
            size = 0
            for i in range(3):
                if code & 0x10 << i and at < len(data):
                    size, at = size | data[at] << 8 * i, at + 1
            total += size or 0x10000
        else:
            total, at = total + code, at + code
    return min(total, 1 << 26)


def test_good_deltas_are_applied_in_c() -> None:
    delta = made.delta(len(TEXT), 0x10000 + 3, made.copy(0, 100), made.insert(b"abc"), made.copy(2000, 100))
    assert compiled.apply(TEXT, delta, 0x10003) is None
    delta = made.delta(len(TEXT), 203, made.copy(0, 100), made.insert(b"abc"), made.copy(2000, 100))
    assert compiled.apply(TEXT, delta, 203) == TEXT[:100] + b"abc" + TEXT[2000:]
    assert compiled.apply(bytes(70_000), made.delta(70_000, 0x10000, b"\x80"), 0x10000) == bytes(0x10000)
    assert compiled.apply(b"", made.delta(0, 0), 0) == b""


def resolved(data: bytes, lookup: Callable[[ObjectId], Any] = OUTSIDE.get) -> Any:
    found = scan(data, SHA1, LIMITS, keep=MIB)
    room = found.account.structure_room()
    return compiled.resolve(found.entries, found.inflated, lookup, SHA1.new, SHA1.oid_bytes, room)


def test_objects_as_the_encoder_stores_them_are_resolved_and_hashed_in_c() -> None:
    first, last = made.delta(len(TEXT), 3, made.copy(0, 3)), made.delta(0, 1, made.insert(b"x"))
    large = bytes(10_000)  # is hashed in two steps
    data = made.pack(
        made.whole(COMMIT, b"c"), made.ref_delta(IDS[0], first), made.whole(BLOB, large), made.ref_delta(IDS[1], last)
    )
    found = resolved(data)
    assert found is not None
    contents = [(COMMIT, b"c"), (BLOB, TEXT[:3]), (BLOB, large), (TREE, b"x")]
    assert [row[:4] for row in found[0]] == [
        (SHA1.hash_object(KIND_NAMES[kind], raw), kind, len(raw), raw) for kind, raw in contents
    ]
    assert found[1] == 1  # byte of a tree
    both(lambda: take_in(data, LIMITS, MIB))


def test_what_stands_on_another_object_of_its_pack_or_on_nothing_is_left_to_the_python() -> None:
    on_it = made.delta(len(TEXT), 3, made.copy(0, 3))
    for entries in (
        [made.whole(BLOB, TEXT), made.ref_delta(IDS[0], on_it)],
        [made.ref_delta(IDS[0], on_it), made.whole(BLOB, TEXT)],
        [made.ref_delta(IDS[0], on_it), made.ref_delta(SHA1.hash_object(b"blob", TEXT[:3]), made.delta(3, 0))],
        [made.ref_delta(IDS[3], on_it)],
        [made.whole(BLOB, b"x"), made.ofs_delta(10, made.delta(1, 1, made.copy(0, 1)))],
    ):
        assert resolved(made.pack(*entries)) is None
        both(lambda entries=entries: take_in(made.pack(*entries), LIMITS, MIB))  # type: ignore[misc]


def truncated(count: int, size: int) -> tuple[bytes, list[ObjectId], Callable[[ObjectId], tuple[int, bytes] | None]]:
    """A pack of deltas that each cut a large object to its first 64 bytes; what gives these makes them anew."""
    tails = {SHA1.hash_object(b"blob", b"%064d" % n + bytes(size)): n for n in range(count)}
    cut = made.delta(64 + size, 64, made.copy(0, 64))

    def lookup(oid: ObjectId) -> tuple[int, bytes] | None:
        return (BLOB, b"%064d" % tails[oid] + bytes(size)) if oid in tails else None

    made_ids = [SHA1.hash_object(b"blob", b"%064d" % n) for n in range(count)]
    return made.pack(*(made.ref_delta(oid, cut) for oid in tails)), made_ids, lookup


def test_of_many_large_bases_few_are_held_at_once() -> None:
    data, made_ids, lookup = truncated(40, 4 * MIB)
    assert resolved(data, lookup) is None
    tracemalloc.start()
    try:
        decoded = decode(data, scan(data, SHA1, LIMITS, keep=MIB), SHA1, LIMITS, lookup)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [d.oid for d in decoded] == made_ids
    assert peak < 80 * MIB  # of 160


def test_the_bases_of_an_ordinary_pack_are_held_by_c() -> None:
    data, made_ids, lookup = truncated(15, 4 * MIB)
    found = resolved(data, lookup)
    assert found is not None and [row[0] for row in found[0]] == made_ids


def test_what_the_lookup_raises_is_raised() -> None:
    def fail(_oid: ObjectId) -> None:
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        resolved(made.pack(made.ref_delta(IDS[0], made.delta(len(TEXT), 3, made.copy(0, 3)))), fail)


def item(kind: int, data: bytes, fmt: ObjectFormat = SHA1) -> Decoded:
    entry = Entry(12, kind, len(data), None, None, 13, 30, len(data))
    return Decoded(fmt.hash_object(KIND_NAMES[kind], data), kind, len(data), data, entry)


FILE, LINK, SUBTREE = item(BLOB, b"a file\n"), item(BLOB, b"../.git/config"), item(TREE, b"")
PERSON = b"A U Thor <author@example.org> 1700000000 +0100\n"


def check(raw: bytes, limits: Limits = LIMITS) -> Any:
    """The error or the findings of a commit with this tree, and whatever of three objects it may name."""
    tree = item(TREE, raw)
    commit = item(COMMIT, b"tree %s\nauthor %scommitter %s\nm\n" % (tree.oid.hex().encode(), PERSON, PERSON))
    named = [other for other in (FILE, LINK, SUBTREE) if other.oid in raw]
    findings: list[Finding] = []
    done = outcome(
        lambda: check_pack(None, [commit, tree, *named], SHA1, limits, leniency=EVERYTHING, findings=findings)
    )
    return done, findings


modes = st.sampled_from([b"100644", b"40000", b"100755", b"120000", b"160000", b"040000", b"100664", b"0", b"170000"])
usual_modes = st.sampled_from([b"100644", b"40000", b"100755"])
some_names = st.one_of(
    st.text(alphabet="ab-./0", min_size=1, max_size=4).map(str.encode),
    st.sampled_from(
        [b".git", b".gitmodules", b"GIT~1", b"a\\..", b"\xe2\x80\x8c.git", b"x" * 256, b"\x7f", "é".encode()]
    ),
    st.binary(min_size=1, max_size=5).map(lambda b: b.replace(b"\0", b"0")),
)
some_ids = st.sampled_from([FILE.oid, LINK.oid, SUBTREE.oid, bytes(20), b"\x01" * 20, FILE.oid[:1] + b"\2" * 19])
tree_entries = st.lists(st.tuples(st.one_of(usual_modes, modes), some_names, some_ids), max_size=12)


def in_order(entries: list[tuple[bytes, bytes, bytes]]) -> list[tuple[bytes, bytes, bytes]]:
    return sorted(entries, key=lambda e: e[1] + b"/" if e[0].endswith(b"40000") else e[1])


@settings(max_examples=800)
@given(entries=tree_entries, is_sorted=st.booleans(), harms=harms_of_packs, most=st.sampled_from([1, 255]))
@example([(b"100644", b"a", b"\1" * 20), (b"100644", b"a-", b"\1" * 20), (b"40000", b"a", b"\1" * 20)], True, [], 255)
@example([(b"40000", b"a", b"\1" * 20), (b"100644", b"a", b"\1" * 20)], False, [], 255)
def test_any_tree(
    entries: list[tuple[bytes, bytes, bytes]], is_sorted: bool, harms: list[tuple[str, int, bytes]], most: int
) -> None:
    raw = b"".join(b"%s %s\0%s" % e for e in (in_order(entries) if is_sorted else entries))
    both(
        lambda: check(
            harm(raw, [(how, at - 12, more) for how, at, more in harms]), replace(LIMITS, component_bytes=most)
        )
    )


def test_ordinary_trees_are_looked_at_in_c() -> None:
    one = b"\1" * 20
    entries = [(b"100644", b"a", one), (b"100644", b"a-b", one), (b"40000", b"a-c", one), (b"160000", b"z", FILE.oid)]
    raw = b"".join(b"%s %s\0%s" % e for e in in_order([*entries, (b"100755", b".travis", FILE.oid)]))
    members = {FILE.oid: None}
    found = compiled.look(raw, 20, 255, members, compiled.first_bytes(members))
    assert found == ([(BLOB, FILE.oid)], [(b"100755", b".travis", FILE.oid)], False)
    assert compiled.look(raw, 20, 2, members, compiled.first_bytes(members)) is None
    link = b"120000 l\0" + one
    assert compiled.look(link, 20, 255, members, compiled.first_bytes(members)) == ([], [], True)
    long = b"40000 d\0" + b"\1" * 32
    assert compiled.look(long, 32, 255, {}, bytes(256)) == ([], [], False)


def test_whatever_byte_makes_a_name_remarkable_is_seen_in_c() -> None:
    names_of_bytes = [b"a%cb" % byte for byte in range(1, 256)]
    raw = b"".join(b"%s %s\0%s" % e for e in in_order([(b"100644", name, b"\1" * 20) for name in names_of_bytes]))
    found = compiled.look(raw, 20, 255, {}, bytes(256))
    assert found is not None
    remarked = {name for _, name, _ in found.remarkable}
    assert {name for name in names_of_bytes if names.any_remarkable(name)} < remarked
    assert remarked == {b"a%cb" % byte for byte in {*range(1, 32), *b"/\\~\x7f\xe2\xef"}}


def test_names_that_start_with_one_another_many_times_over_are_left_to_the_python() -> None:
    raw = b"".join(b"100644 %s\0%s" % (b"a" * n, b"\1" * 20) for n in range(1, 60))
    assert compiled.look(raw, 20, 255, {}, bytes(256)) is None
    assert both(lambda: check(raw))[1] == []


def test_a_trailer_of_another_hash_changes_nothing() -> None:
    data = REAL[:-20] + hashlib.sha1(b"").digest()
    assert both(lambda: take_in(data, LIMITS, MIB))[1].startswith("the trailer")
