# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository that is to run, wherever that was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtfs.collection.wanted import BadRepositoryName, WantedRepository, check_name


def test_where_it_was_said_does_not_make_it_another_repository() -> None:
    one = WantedRepository("a", "/srv/a.git", Path("/srv/a.git"), origin="gtfs.conf:3")
    assert one == WantedRepository("a", "/srv/a.git", Path("/srv/a.git"), origin="gtfs seed add")
    assert one != WantedRepository("a", "/srv/a.git", Path("/srv/a.git"), ("rate=1M",), "gtfs.conf:3")


@pytest.mark.parametrize("name", ["a", "linux.git", "pub/scm/linux.git", "c++", "naïve 2"])
def test_a_name_is_a_path_of_plain_components(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", ".git", "a/.b", "-o", "a\\b", "a\nb", "a\x1b[0m", "a\u202eb", "a\0"]
    + ["\udcff", "a" * 256, "/".join(["a" * 200] * 6)],
)
def test_what_could_lead_elsewhere_or_lie_on_a_terminal_is_no_name(name: str) -> None:
    with pytest.raises(BadRepositoryName, match="is no name of a repository") as e:
        check_name(name)
    assert str(e.value).isprintable()
