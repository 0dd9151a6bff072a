# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.trust.refnames import BadRefName, check_ref_name, decode_name, encode_name


@given(st.binary(min_size=1, max_size=80))
def test_every_name_has_one_spelling(name: bytes) -> None:
    text = encode_name(name)
    assert text.isascii() and text.isprintable() and " " not in text
    assert decode_name(text) == name


@given(st.text(max_size=20))
def test_other_spellings_are_refused(text: str) -> None:
    try:
        assert encode_name(decode_name(text)) == text
    except BadRefName:
        pass


@pytest.mark.parametrize("text", ["a%2fb%", "%61", "%c3%bc", "ü", "a b", "%", "%4", "\n"])
def test_wrong_spellings(text: str) -> None:
    with pytest.raises(BadRefName):
        decode_name(text)


@pytest.mark.parametrize(
    "name",
    ["refs/heads/main", "refs/tags/v1.0", "refs/stash", "refs/heads/a@b", "refs/heads/ü/x", "refs/heads/-x"],
)
def test_good_names(name: str) -> None:
    check_ref_name(name.encode())


@pytest.mark.parametrize(
    "name",
    [
        "HEAD", "heads/main", "refs/", "refs/heads/", "refs//main", "refs/heads/.a", "refs/heads/a.lock",
        "refs/heads/a.lock/b", "refs/heads/a..b", "refs/heads/a b", "refs/heads/a~", "refs/heads/a^", "refs/heads/a:b",
        "refs/heads/a?", "refs/heads/a*", "refs/heads/a[", "refs/heads/a\\b", "refs/heads/a@{b", "refs/heads/a.",
        "refs/heads/a\x7f", "refs/heads/a\n", "refs/gtfs/tips/x", "refs/gtfs", "refs/heads/" + "x" * 256,
        "refs/" + "x/" * 600 + "x", "refs/heads/../../x",
    ],
)  # fmt: skip
def test_bad_names(name: str) -> None:
    with pytest.raises(BadRefName):
        check_ref_name(name.encode())
