# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from gtfs.feed import parse_feed
from gtfs.ids import SHA1
from gtfs.repo.repository import Repository, create_repository
from gtfs.state.config import Config
from gtfs.state.otherstates import make, other, set_aside, state_of
from gtfs.state.private import make_private

OURS, THEIRS = "https://example.org/ours/latest.asc", "https://example.org/theirs/latest.asc"


@pytest.fixture
def clone(tmp_path: Path) -> Repository:
    repository = create_repository(tmp_path / "clone.git", SHA1)
    follow(repository, OURS)
    return repository


def follow(repository: Repository, source: str) -> None:
    make_private(repository.layout.root)
    config = Config(repository)
    config.set("clone", "true")
    config.set("source", source)


def test_a_feed_that_nobody_knows_is_asked_by_the_clones_own_state_first(clone: Repository) -> None:
    assert state_of(clone, parse_feed(OURS)) == clone
    assert state_of(clone, parse_feed(THEIRS)) == clone


def test_a_feed_is_asked_by_the_state_that_follows_it(clone: Repository) -> None:
    feed = parse_feed(THEIRS)
    place = other(clone, feed)
    assert not place.path.exists()
    make(clone, place)
    follow(place, THEIRS)
    assert state_of(clone, feed) == place
    assert state_of(clone, parse_feed(OURS)) == clone


def test_a_publisher_follows_beside_its_own_state(tmp_path: Path) -> None:
    publisher = create_repository(tmp_path / "p.git", SHA1)
    make_private(publisher.layout.root)
    Config(publisher).set("signkey", "A" * 40)
    assert state_of(publisher, parse_feed(THEIRS)) == other(publisher, parse_feed(THEIRS))


def test_another_state_has_the_clones_objects_also_when_it_was_left_half_made(clone: Repository) -> None:
    place = other(clone, parse_feed(THEIRS))
    create_repository(place.path, SHA1)  # and killed before the link
    for _ in range(2):
        make(clone, place)
        assert place.objects.resolve() == clone.objects
    assert clone.git("rev-parse", "--git-dir", check=False)
    blob = place.git("hash-object", "-w", "--stdin", stdin=b"one store\n").strip().decode()
    assert clone.git("cat-file", "-t", blob) == b"blob\n"


def test_a_clones_state_makes_room_for_a_publishers(clone: Repository) -> None:
    set_aside(clone, ["A" * 40])
    assert not clone.layout.root.exists()
    assert state_of(clone, parse_feed(OURS)) == other(clone, parse_feed(OURS))
    set_aside(clone, ["A" * 40])  # nothing is left to do
