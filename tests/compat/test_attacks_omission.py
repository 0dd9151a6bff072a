# SPDX-License-Identifier: GPL-3.0-or-later
"""The attacks of "On omitting commits and committing omissions" (USENIX Security 2016), and those on policies.

Each by a mirror that changes or holds back what was signed, and by a publisher, or a thief, who signs it: then by the
policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from publishers import MAIN, Publishers, held, now_s, take
from test_ref_moves import Mirror

from gtfs.catalogue.accept import CatalogueRefused, OlderVersion, WrongSigner
from gtfs.ids import ObjectId
from gtfs.state.state import State
from gtfs.trust.policy import parse_policy

RELEASE = b"refs/heads/release"
OLD, NEW, OTHER = (ObjectId(bytes([n]) * 20) for n in (1, 2, 3))


@pytest.fixture(scope="module")
def people() -> Iterator[Publishers]:
    made = Publishers()
    yield made
    made.close()


@pytest.fixture
def follower(people: Publishers, tmp_path: Path) -> Iterator[tuple[State, bytes]]:
    """A mirror that holds version 1, and the second, which moves main on."""
    first = people.document(1, refs={MAIN: OLD, RELEASE: OTHER})
    with people.mirror(tmp_path / "f.git", first) as state:
        yield state, people.document(2, held(state), refs={MAIN: NEW, RELEASE: OTHER})


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """One that has all objects."""
    made = Mirror(tmp_path / "m.git")
    yield made
    made.state.__exit__(None, None, None)


def line(oid: ObjectId, name: bytes) -> bytes:
    return b" " + oid.hex().encode() + b" " + name + b"\n"


def test_a_mirror_that_teleports_a_ref_to_another_branchs_commit_is_not_believed(
    follower: tuple[State, bytes],
) -> None:
    state, second = follower
    moved = second.replace(line(NEW, MAIN), line(OTHER, MAIN))
    assert moved != second
    with pytest.raises(WrongSigner):
        take(state, moved)
    assert take(state, second) is not None


def test_teleport_by_a_signed_catalogue_moves_no_ref_that_does_not_descend(mirror: Mirror) -> None:
    main = mirror.history.chain(2, by="alice")
    other = mirror.history.chain(2, by="alice")  # as well signed, for another branch
    mirror.let_in(main[-1], other[-1])
    mirror.lines = ["** every-commit"]
    assert mirror.follow(main=main[-1], dev=other[-1]).moved == 2
    report = mirror.follow(main=other[-1], dev=other[-1])
    assert list(report.held_back) == [b"refs/heads/main"]
    assert mirror.at("refs/heads/main") == main[-1]


def test_a_mirror_that_rolls_a_ref_back_is_not_believed(follower: tuple[State, bytes]) -> None:
    state, second = follower
    with pytest.raises(WrongSigner):
        take(state, second.replace(line(NEW, MAIN), line(OLD, MAIN)))
    first = held(state).document
    take(state, second)
    with pytest.raises(OlderVersion):
        take(state, first)


def test_rollback_by_a_signed_catalogue_moves_no_ref_back(mirror: Mirror) -> None:
    old, new = mirror.history.chain(2, by="alice")
    mirror.let_in(new)
    mirror.lines = ["** every-commit"]
    mirror.follow(main=new)
    mirror.follow(main=old)
    assert mirror.at("refs/heads/main") == new


def test_a_mirror_that_deletes_a_ref_is_not_believed(follower: tuple[State, bytes]) -> None:
    state, second = follower
    with pytest.raises(WrongSigner):
        take(state, second.replace(line(OTHER, RELEASE), b""))
    assert take(state, second) is not None and RELEASE in held(state).catalogue.refs


def test_a_ref_that_a_signed_catalogue_deletes_comes_back_no_older(mirror: Mirror) -> None:
    old, new = mirror.history.chain(2, by="alice")
    mirror.let_in(new)
    mirror.lines = ["** every-commit"]
    mirror.follow(main=new, other=new)
    mirror.follow(other=new)
    assert mirror.at("refs/heads/main") is None
    assert b"refs/heads/main" in mirror.follow(main=old, other=new).held_back
    assert mirror.at("refs/heads/main") is None
    assert mirror.follow(main=new, other=new).moved == 1


def test_omission_of_the_newest_commits_lasts_no_longer_than_the_held_catalogue(
    people: Publishers, follower: tuple[State, bytes]
) -> None:
    state, second = follower
    first = held(state)
    assert take(state, first.document) is None  # what a mirror that omits goes on giving is no news, and renews nothing
    assert state.good_until_s() == first.catalogue.valid_until_s
    take(state, second)
    third = people.document(3, second, refs={RELEASE: OTHER, MAIN: NEW})
    fourth = people.document(4, third, refs={RELEASE: OTHER, MAIN: OLD})
    assert take(state, fourth) is not None  # nor does it help to leave one out between
    with pytest.raises(OlderVersion):
        take(state, third)


def test_policy_rollback_an_old_policy_that_was_valid_once_is_not_taken_again(
    people: Publishers, tmp_path: Path
) -> None:
    loose, strict = (parse_policy("** catalogue non-fast-forward"),), (parse_policy("** every-commit"),)
    first = people.document(1, policy=loose)
    with people.mirror(tmp_path / "p.git", first) as state:
        second = people.document(2, held(state), policy=strict)
        take(state, second)
        with pytest.raises(OlderVersion):
            take(state, first)
        with pytest.raises(CatalogueRefused):  # nor its lines in the new one
            take(state, second.replace(b" ** every-commit", b" ** catalogue non-fast-forward"))
        assert held(state).catalogue.policy == strict


def test_a_policy_change_smuggled_in_with_the_refs_that_it_would_allow_needs_who_may_sign_and_no_local_line(
    people: Publishers, tmp_path: Path, mirror: Mirror
) -> None:
    """Who signs catalogues makes their policy, all of them together; a node's own lines no catalogue takes away."""
    strict = {"policy": (parse_policy("** every-commit"),)}
    names = ("plain", "other")
    both = {"signers": tuple(people[name] for name in names), "threshold": 2}
    with people.mirror(tmp_path / "s.git", people.document(1, by=names, **strict, **both)) as state:
        smuggled = {"policy": (parse_policy("** catalogue non-fast-forward"),), "refs": {MAIN: OTHER}}
        for name in names:
            with pytest.raises(WrongSigner):
                take(state, people.document(2, held(state), by=name, date_s=now_s(), **smuggled, **both))
    old, new = mirror.history.chain(2, by="alice")
    unsigned = mirror.history.commit(new)
    mirror.let_in(unsigned)
    mirror.local, mirror.lines = ["** every-commit"], ["** every-commit"]
    mirror.follow(main=new)
    mirror.lines = ["** catalogue non-fast-forward"]
    for smuggled_to in (old, unsigned):
        mirror.follow(main=smuggled_to)
        assert mirror.at("refs/heads/main") == new
