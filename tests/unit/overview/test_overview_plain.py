# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a text an overview shows, in a time that grows with its length alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.overview import plain
from gtfs.overview.plain import without_private

_QUERY = re.compile(r"(\w+://[^\s?]*)\?[^\s:]*")  # says it shortly, and takes squares


@given(st.lists(st.sampled_from(["a", "1", "://", "?", ":", "/", " ", "\n", "-", "@", "é"]), max_size=30).map("".join))
def test_a_query_of_a_url_is_left_out_wherever_it_stands(text: str) -> None:
    without_users = plain._USER.sub("…@", text)
    assert without_private(text) == plain._WAY.sub("…/", _QUERY.sub(r"\1?…", without_users))


@pytest.mark.parametrize("part", ["a", "a://b", "://", "/a", "?", "a://b?", "a://?:", "file:/"])
def test_a_long_text_does_not_hold_up_whoever_shows_it(part: str) -> None:
    assert without_private(part * (1 << 17)) != "\n"  # by squares it would be a minute
