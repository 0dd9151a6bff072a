# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from gtfs.feed import BadFeed, FileFeed, parse_feed

KEY = "ab" * 32


@pytest.mark.parametrize("text", ["file://[x", "file:///a%00b", "http://[x/", "http://h:99999/", f"gtfs:{KEY}/\udcff"])
def test_what_is_no_address_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadFeed, match=r"^feed "):
        parse_feed(text)


def test_a_file_that_is_not_named_in_utf_8_is_one() -> None:
    feed = parse_feed("file:///srv/%ff%20b")
    assert isinstance(feed, FileFeed) and bytes(feed.path) == b"/srv/\xff b"
