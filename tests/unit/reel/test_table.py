# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.ids import SHA1, SHA256
from gtfs.reel.table import (
    FOOTER_BYTES,
    CorruptReel,
    Footer,
    Row,
    check_reel_layout,
    encode_table,
    footer,
    footer_range,
    parse_footer,
    parse_table,
    reel_name,
    reel_size,
    table_range,
)

formats = st.sampled_from([SHA1, SHA256])


def rows_of(fmt):
    return st.lists(
        st.builds(
            Row,
            st.binary(min_size=fmt.oid_bytes, max_size=fmt.oid_bytes),
            st.integers(44, 1 << 40),
            st.binary(min_size=32, max_size=32),
        ),
        min_size=1,
        max_size=20,
        unique_by=lambda row: row.oid,
    )


ROWS = [Row(bytes([n]) * 20, 100 + n, bytes([n + 9]) * 32) for n in range(3)]


def test_the_layout_is_the_one_of_the_design():
    table = encode_table(ROWS[:1], SHA1)
    assert table == b"\0" * 20 + struct.pack(">Q", 100) + b"\x09" * 32
    foot = footer(table, 1, SHA1)
    assert foot == hashlib.sha256(table).digest() + b"\0\0\0\1" + b"\0\x14" + b"\0\1" + b"GTFSREEL"
    assert len(foot) == FOOTER_BYTES == 48
    assert reel_name(table) == hashlib.sha256(table).hexdigest() == parse_footer(foot).name


@given(st.data(), formats)
def test_what_is_encoded_is_read_back(data, fmt):
    rows = data.draw(rows_of(fmt))
    table = encode_table(rows, fmt)
    foot = parse_footer(footer(table, len(rows), fmt), fmt)
    size = reel_size(rows, fmt)
    assert foot == Footer(hashlib.sha256(table).digest(), len(rows), fmt.oid_bytes, 1)
    assert (list(found := parse_table(table, foot)), found[-1], found[1:]) == (rows, rows[-1], rows[1:])
    offsets = check_reel_layout(rows, size)
    assert offsets[0] == 0
    assert [o + r.length for o, r in zip(offsets, rows, strict=True)][:-1] == list(offsets[1:])
    start, length = table_range(size, foot)
    assert start == offsets[-1] + rows[-1].length
    assert start + length == footer_range(size)[0] == size - FOOTER_BYTES


@given(st.data(), formats)
def test_a_flipped_bit_anywhere_in_table_or_footer_is_noticed(data, fmt):
    rows = data.draw(rows_of(fmt))
    table = encode_table(rows, fmt)
    both = bytearray(table + footer(table, len(rows), fmt))
    at = data.draw(st.integers(0, len(both) - 1))
    both[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptReel):
        parse_table(bytes(both[:-FOOTER_BYTES]), parse_footer(bytes(both[-FOOTER_BYTES:]), fmt))


@given(st.binary(max_size=100))
def test_any_bytes_are_a_footer_or_corrupt(data):
    try:
        parse_footer(data)
    except CorruptReel:
        return
    assert len(data) == FOOTER_BYTES


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [ROWS[0], ROWS[0]],
        [Row(b"\0" * 32, 100, b"\0" * 32)],
        [Row(b"\0" * 20, 100, b"\0" * 20)],
        [Row(b"\0" * 20, 31, b"\0" * 32)],
        [Row(b"\0" * 20, 1 << 63, b"\0" * 32)],
    ],
    ids=["none", "repeated", "long-id", "short-digest", "short-pack", "too-long"],
)
def test_rows_that_no_reader_accepts_are_not_written(rows):
    with pytest.raises(CorruptReel):
        encode_table(rows, SHA1)


def test_a_row_count_beyond_the_file_is_refused_before_the_table_is_read():
    foot = Footer(b"\0" * 32, 0xFFFFFFFF, 20, 1)
    with pytest.raises(CorruptReel, match="cannot hold"):
        table_range(1 << 20, foot)


def test_a_size_other_than_the_tables_is_refused():
    size = reel_size(ROWS, SHA1)
    for wrong in (size - 1, size + 1):
        with pytest.raises(CorruptReel):
            check_reel_layout(ROWS, wrong)


def test_a_reel_of_the_other_object_format_is_refused():
    table = encode_table(ROWS, SHA1)
    with pytest.raises(CorruptReel, match="20 bytes"):
        parse_footer(footer(table, 3, SHA1), SHA256)


def test_a_later_format_version_is_named():
    foot = bytearray(footer(encode_table(ROWS, SHA1), 3, SHA1))
    foot[39] = 2
    with pytest.raises(CorruptReel, match="version 2"):
        parse_footer(bytes(foot))
