# SPDX-License-Identifier: GPL-3.0-or-later
"""What a delta copies, as it says itself."""

from __future__ import annotations

from dulwich.pack import apply_delta
from hypothesis import given
from hypothesis import strategies as st

from gtfs.pack.copies import Copy, read_copies
from gtfs.pack.delta import make_delta


def test_copies_that_go_on_are_one() -> None:
    base = bytes(range(256)) * 1024
    delta = make_delta(base, base + b"x", lambda data: [data])
    assert len(delta) == 15
    assert read_copies(delta, 99) == [Copy(0, 0, len(base))]


def test_a_delta_that_breaks_off_or_has_too_many_instructions_says_nothing() -> None:
    delta = b"\x05\x08\x90\x05\x01a\x90\x02"
    assert read_copies(delta, 3) == [Copy(0, 0, 5), Copy(6, 0, 2)]
    assert read_copies(delta, 2) is None
    assert read_copies(delta[:-1], 3) is None
    assert read_copies(b"\x85", 3) is None
    assert read_copies(b"", 3) is None


@given(st.lists(st.sampled_from([b"a" * 20, b"b" * 20, b"c" * 30, b"d", b"ee"]), max_size=12), st.data())
def test_what_is_copied_stands_in_both(parts: list[bytes], data: st.DataObject) -> None:
    base = b"".join(parts)
    target = b"".join(data.draw(st.permutations(parts))) + b"f"
    delta = make_delta(base, target, lambda text: text.splitlines(True))
    copies = read_copies(delta, 999)
    assert copies is not None
    made = b"".join(apply_delta(base, delta))
    for at, base_at, size in copies:
        assert made[at : at + size] == base[base_at : base_at + size]
