# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.bencode import MAX_NESTING, NotBencoded, decode, encode

values = st.recursive(
    st.integers(-(1 << 63), (1 << 63) - 1) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.binary(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=0)


@given(values)
def test_what_is_encoded_is_read_back_and_is_what_libtorrent_writes(value):
    data = encode(value)
    assert data == lt.bencode(value)
    if depth(value) <= MAX_NESTING:
        assert decode(data) == value


@given(values.filter(lambda value: depth(value) <= MAX_NESTING), st.data())
def test_bytes_that_are_read_are_the_encoding_of_what_was_read(value, data):
    changed = bytearray(encode(value))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert encode(decode(bytes(changed))) == bytes(changed)
    except NotBencoded:
        pass


@pytest.mark.parametrize(
    "data",
    [b"", b"i1", b"i01e", b"i-0e", b"i+1e", b"i1_0e", b"i 1e", b"01:a", b"2:a", b"i1ei1e", b"l", b"d1:ae", b"di1e1:ae",
     b"d1:b0:1:a0:e", b"d1:a0:1:a0:e", b"l" * 100_000, b"l" * MAX_NESTING + b"i1e" + b"e" * MAX_NESTING,
     b"99999999999:a"],
)  # fmt: skip
def test_what_is_not_canonical_or_nested_too_deep_is_refused(data):
    with pytest.raises(NotBencoded):
        decode(data)
