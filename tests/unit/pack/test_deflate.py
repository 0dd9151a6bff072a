# SPDX-License-Identifier: GPL-3.0-or-later
"""gtfs/pack/deflate.py and puredeflate.py against the vectors of design.md §3.5 and against the linked zlib."""

from __future__ import annotations

import hashlib
import logging
import random
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtfs.pack import deflate as module
from gtfs.pack.deflate import LINKED, PURE, Deflater, WrongSize, choose_deflate, deflate, deflate_stream
from gtfs.pack.puredeflate import build_tree

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "deflate.tsv"
MIB = 1 << 20

linked_is_madlers = pytest.mark.skipif(
    not module.writes_known_bytes(LINKED), reason=f"{LINKED.name} writes other bytes: nothing to compare with"
)


@cache
def gen() -> bytes:
    """The input that deflate.tsv describes in its second line."""
    out = bytearray()
    x = 1
    for i in range(400_000):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        out += b"%x\n" % (x % (97 + i % 5000)) if i % 7 else bytes(((x >> 16) & 255, (x >> 8) & 255))
    return bytes(out)


def vectors() -> list[tuple[str, int, int, str]]:
    rows = [line.split("\t") for line in VECTORS.read_text().splitlines() if not line.startswith("#")]
    return [(name, int(size), int(deflated_size), sha256) for name, size, deflated_size, sha256 in rows]


def vector_input(name: str, size: int) -> bytes:
    fixed = {
        "empty": b"",
        "one byte": b"a",
        "hello": b"hello\n",
        "zeros 70000": bytes(70_000),
        "period 3 x 50000": b"abc" * 50_000,
    }
    data = fixed[name] if name in fixed else gen()[:size]
    assert len(data) == size
    return data


@pytest.fixture
def pure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "choose_deflate", lambda: PURE)


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector[0])
def test_deflate_gives_the_bytes_of_the_vectors(vector: tuple[str, int, int, str]) -> None:
    name, size, deflated_size, sha256 = vector
    out = deflate(vector_input(name, size))
    assert (len(out), hashlib.sha256(out).hexdigest()) == (deflated_size, sha256)


@pytest.mark.usefixtures("pure")
@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector[0])
def test_pure_python_gives_the_bytes_of_the_vectors(vector: tuple[str, int, int, str]) -> None:
    name, size, deflated_size, sha256 = vector
    out = deflate(vector_input(name, size))
    assert (len(out), hashlib.sha256(out).hexdigest()) == (deflated_size, sha256)


# Inputs that reach what deflate_fast and trees.c do rarely. Each makes about ``size`` bytes.


def noise(rng: random.Random, size: int) -> bytes:
    return rng.randbytes(size)


def few_letters(rng: random.Random, size: int) -> bytes:
    mask = rng.choice([1, 3, 15, 63, 127])
    return bytes(byte & mask for byte in rng.randbytes(size))


def fibonacci(rng: random.Random, size: int) -> bytes:
    """Frequencies whose code lengths go over 15 bits and must be taken back."""
    frequencies = [1, 1]
    while sum(frequencies) < min(size, 16_000):
        frequencies.append(frequencies[-1] + frequencies[-2])
    data = [letter for letter, count in enumerate(frequencies) for _ in range(count)]
    rng.shuffle(data)
    return bytes(data)


def copies(rng: random.Random, size: int) -> bytes:
    """Literals and copies from all distances, many of them at the largest one allowed."""
    out = bytearray(rng.randbytes(8))
    letters = rng.choice([2, 20, 256])
    while len(out) < size:
        out += bytes(rng.randrange(letters) for _ in range(rng.randrange(4)))
        distance = rng.randrange(1, len(out) + 1)
        if len(out) > 33_000:
            distance = rng.choice([32_505, 32_506, 32_507, rng.randrange(1, 32_768)])
        length = rng.choice([3, 4, 5, 7, 8, 9, 257, 258, 259, rng.randrange(3, 400)])
        start = len(out) - distance
        out += (bytes(out[start : start + length]) * length)[:length]
    return bytes(out[:size])


def stretches(rng: random.Random, size: int) -> bytes:
    """Long runs with a byte changed here and there: matches of 258, and windows that slide past a block's start."""
    data = bytearray((rng.randbytes(rng.choice([1, 2, 3, 258, 1000])) * size)[:size])
    for _ in range(rng.choice([0, 3, 60]) if size else 0):
        data[rng.randrange(size)] = rng.randrange(256)
    return bytes(data)


def nearly_noise(rng: random.Random, size: int) -> bytes:
    """On the edge between a stored and a compressed block."""
    data = bytearray(rng.randbytes(size))
    for _ in range(size // 300):
        here, there = rng.randrange(size), rng.randrange(size)
        data[here : here + 4] = data[there : there + 4]
    return bytes(data[:size])


KINDS: list[Callable[[random.Random, int], bytes]] = [
    noise,
    few_letters,
    fibonacci,
    copies,
    stretches,
    nearly_noise,
]


def assert_same(data: bytes) -> None:
    assert PURE.container(data) == LINKED.container(data)
    assert PURE.segment(data, last=False) == LINKED.segment(data, last=False)


@linked_is_madlers
@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.text("ab\n", max_size=400).map(str.encode)))
def test_pure_python_equals_the_linked_zlib_on_any_short_input(data: bytes) -> None:
    assert_same(data)


@linked_is_madlers
@settings(max_examples=120, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 1 << 32), size=st.integers(0, 40_000))
def test_pure_python_equals_the_linked_zlib_on_structured_input(
    kind: Callable[[random.Random, int], bytes], seed: int, size: int
) -> None:
    assert_same(kind(random.Random(seed), size))


@linked_is_madlers
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_pure_python_equals_the_linked_zlib_at_the_edges_of_blocks_and_windows(
    kind: Callable[[random.Random, int], bytes],
) -> None:
    # 16383 symbols a block; 262 bytes of look-ahead; the 64 KiB window slides at 65274 or 65275, by 32768
    data = kind(random.Random(7), 98_310)
    for edge in (16_383, 32_768, 65_275, 65_536, 98_042):
        for size in (edge - 1, edge, edge + 1):
            if size <= len(data):
                assert_same(data[:size])


@linked_is_madlers
@pytest.mark.parametrize("kind", [noise, copies, stretches], ids=lambda kind: kind.__name__)
def test_pure_python_equals_the_linked_zlib_on_a_whole_segment(
    kind: Callable[[random.Random, int], bytes],
) -> None:
    data = kind(random.Random(11), MIB)
    assert PURE.container(data) == LINKED.container(data)
    assert PURE.segment(data, last=False) == LINKED.segment(data, last=False)


@linked_is_madlers
@pytest.mark.parametrize("tail", range(255, 266))
def test_pure_python_slides_the_window_at_the_same_position_as_the_linked_zlib(tail: int) -> None:
    # At 65274 there is a match at the largest distance, with 32768: the byte where the window starts once it has slid,
    # and which zlib then takes for none. It has slid if fewer than 262 bytes are ahead in the 64 KiB window.
    data = bytearray(byte & 15 for byte in random.Random(13).randbytes(65_274 + tail))
    data[32_767:32_771] = b"\x01\x10\x10\x10"  # a hash that nothing else has, and no match runs into it
    data[65_273:65_277] = b"\x02\x10\x10\x10"
    assert_same(bytes(data))


@linked_is_madlers
def test_pure_python_counts_a_block_without_matches_like_the_linked_zlib() -> None:
    rng = random.Random(990)  # the two codings are one bit apart
    letters = rng.randrange(20, 256)
    assert_same(bytes(rng.randrange(letters) for _ in range(rng.randrange(20, 2500))))


def test_code_lengths_stay_within_their_limit_and_fill_the_code() -> None:
    fibonaccis = [1, 1]
    while len(fibonaccis) < 19:
        fibonaccis.append(fibonaccis[-1] + fibonaccis[-2])
    for limit in (7, 15):
        tree = build_tree(fibonaccis, (0,) * 19, limit)
        assert max(tree.lengths) == limit
        assert sum(2 ** (limit - length) for length in tree.lengths) == 2**limit


@pytest.mark.parametrize("deflater", [LINKED, PURE], ids=lambda deflater: deflater.name)
def test_a_segment_ends_in_one_sync_marker_wherever_zlibs_output_buffer_ends(deflater: Deflater) -> None:
    # A last block of a little under 32768 bytes: CPython's flush(Z_SYNC_FLUSH) has a buffer of that size, and zlib
    # writes the marker twice when it is full within it.
    rng = random.Random(5)
    data = bytearray(rng.randbytes(32_766))
    while len(data) < 580_000:
        start = len(data) - rng.randrange(8_000, 32_000)
        data += data[start : start + rng.randrange(10, 60)]
    for size in range(577_859, 577_875, 4):
        raw = deflater.segment(bytes(data[:size]), last=False)
        assert raw.endswith(b"\0\0\xff\xff")
        assert not raw.endswith(b"\0\0\xff\xff\0\0\0\xff\xff")


def test_above_one_mebibyte_segments_can_be_inflated_on_their_own() -> None:
    data = gen()[: MIB + 1]
    out = deflate(data)
    assert out[:2] == b"\x78\x01"
    first = choose_deflate().segment(data[:MIB], last=False)
    assert out[2:].startswith(first)
    assert zlib.decompress(out[2 + len(first) : -4], -15) == data[MIB:]
    assert zlib.decompress(out) == data


@pytest.mark.parametrize("size", [0, 1, 5_000, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 77])
@pytest.mark.parametrize("chunk_bytes", [65_521, MIB, 3 * MIB])
def test_a_stream_gives_the_same_bytes_however_it_is_cut(size: int, chunk_bytes: int) -> None:
    data = (gen() * 2)[:size]
    chunks = [data[start : start + chunk_bytes] for start in range(0, size, chunk_bytes)]
    out = b"".join(deflate_stream([b"", *chunks, b""], size))
    assert out == deflate(data)
    assert zlib.decompress(out) == data


@pytest.mark.parametrize("size", [10, MIB, 2 * MIB])
@pytest.mark.parametrize("wrong_by", [-1, 1])
def test_a_stream_of_another_size_than_declared_is_refused(size: int, wrong_by: int) -> None:
    with pytest.raises(WrongSize) as caught:
        list(deflate_stream([bytes(size + wrong_by)], size))
    assert (caught.value.size, caught.value.got) == (size, size + wrong_by)


def test_pure_python_passes_the_known_answer_test() -> None:
    assert module.writes_known_bytes(PURE)


def other(level: int = 1, window: int = 15, memory: int = 8, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> Deflater:
    def container(data: bytes) -> bytes:
        compressor = zlib.compressobj(level, zlib.DEFLATED, window, memory, strategy)
        return compressor.compress(data) + compressor.flush()

    return LINKED._replace(name="other", container=container)


def failing(data: bytes, *, last: bool) -> bytes:
    raise zlib.error("Error -2 while flushing: inconsistent stream state")


@pytest.mark.parametrize(
    "deflater",
    [
        other(level=2),
        other(window=14),
        other(memory=7),
        other(memory=9),
        other(strategy=zlib.Z_FIXED),
        LINKED._replace(segment=lambda data, *, last: LINKED.segment(data, last=True)),
        LINKED._replace(segment=failing),
    ],
    ids=["level", "window", "memory 7", "memory 9", "fixed codes", "no sync flush", "no Z_BLOCK"],
)
def test_the_known_answer_test_notices_a_deflate_with_other_bytes(deflater: Deflater) -> None:
    assert not module.writes_known_bytes(deflater)


def test_over_a_zlib_with_other_bytes_pure_python_is_chosen_and_one_warning_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records: list[logging.LogRecord] = []
    log = logging.Logger("no parent")  # the record stays out of what the run's log checks see
    log.addFilter(lambda record: records.append(record) or False)
    monkeypatch.setattr(module, "log", log)
    monkeypatch.setattr(module, "LINKED", other(level=2))
    module._chosen.cache_clear()
    try:
        assert [choose_deflate() for _ in range(3)] == [PURE] * 3
        assert deflate(b"hello\n") == LINKED.container(b"hello\n")
    finally:
        module._chosen.cache_clear()
    assert [record.levelname for record in records] == ["WARNING"]
    assert "slower" in records[0].getMessage()
