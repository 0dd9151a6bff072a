# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.trust.stanza import BadStanza, one_line, read_stanza, read_time, write_stanza, write_time


def test_fields_and_their_lines() -> None:
    values = read_stanza(b"Format: x 1\nRefs:\n a b\n c\nEmpty:\nBoth: one\n two\n")
    assert values == {"format": ["x 1"], "refs": ["a b", "c"], "empty": [], "both": ["one", "two"]}
    assert one_line(values, "Format") == "x 1"


@pytest.mark.parametrize(
    "text",
    [
        b"A: b", b"", b"\n", b"A: b\n\n", b"A: b\n\nB: c\n", b"A: b\na: c\n", b" x\nA: b\n", b"# note\nA: b\n",
        b"A: b \n", b"A: b\n \n", b"A: b\n\tc\n", b"A: b\r\n", b"A: b\x0bB: c\n", "A: ü\n".encode(), b"A : b\n",
        b"A:b\n", b"A:  b\n", b"A: b\n  c\n", b"-----BEGIN PGP SIGNED MESSAGE-----\nA: b\n", b"\xff\n", b"A: \x85\n",
    ],
)  # fmt: skip
def test_what_readers_could_read_differently_is_refused(text: bytes) -> None:
    with pytest.raises(BadStanza):
        read_stanza(text)


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(BadStanza, match="over the limit fields"):
        read_stanza(b"".join(b"A%d: x\n" % i for i in range(201)))


def test_too_many_lines_are_refused_before_they_are_read() -> None:
    with pytest.raises(BadStanza, match="over the limit lines"):
        read_stanza(b"\n" * 400_001)


def test_missing_and_long_fields() -> None:
    with pytest.raises(BadStanza, match="missing"):
        one_line({}, "Date")
    with pytest.raises(BadStanza, match="one line"):
        one_line({"date": ["a", "b"]}, "Date")


@pytest.mark.parametrize("value", ["a\nB: c", "ü", "", " a", ["a\n"]])
def test_what_could_not_be_read_back_is_not_written(value: str | list[str]) -> None:
    fields: list[tuple[str, str | list[str]]] = [("A", value), ("B", "c")]
    with pytest.raises(BadStanza):
        write_stanza(fields)


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_time_round_trip(time_s: int) -> None:
    assert read_time(write_time(time_s)) == time_s


@pytest.mark.parametrize("text", ["2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00+01:00", "", "x"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(BadStanza):
        read_time(text)
