# SPDX-License-Identifier: GPL-3.0-or-later
"""What git is told of what it wants."""

from __future__ import annotations

import pytest

from gtfs.ids import SHA1, ObjectId
from gtfs.ingest.refoffers import RefOffer
from gtfs.remote.following import JudgedRefs, NotFetched, _check_wants
from gtfs.remote.protocol import RefList, Want

A, B = (ObjectId(byte * 20) for byte in (b"\xaa", b"\xbb"))
MAIN = b"refs/heads/main"


def judged(held_back: dict[bytes, str] | None = None, late: frozenset[bytes] = frozenset()) -> JudgedRefs:
    refs = {MAIN: A}
    return JudgedRefs(RefList(SHA1, refs, MAIN), RefOffer(refs, held_back or {}, late), {})


@pytest.mark.parametrize("name", [MAIN, b"HEAD", A.hex().encode()])
def test_what_stands_where_git_wants_it_may_be_had(name: bytes) -> None:
    _check_wants([Want(A, name)], judged())


@pytest.mark.parametrize("name", [MAIN, b"HEAD", A.hex().encode()])
def test_what_has_not_come_is_gone_on_with(name: bytes) -> None:
    with pytest.raises(NotFetched, match="refs/heads/main: it has not come whole\nwhat came is kept"):
        _check_wants([Want(A, name)], judged(late=frozenset({MAIN})))


def test_a_ref_that_moved_meanwhile_is_said_to_have_moved() -> None:
    with pytest.raises(NotFetched, match="refs/heads/main: the catalogue has it elsewhere by now: git fetch again"):
        _check_wants([Want(B, MAIN)], judged())


def test_a_ref_that_is_held_back_has_its_own_reason() -> None:
    with pytest.raises(NotFetched, match="refs/heads/main: unsigned"):
        _check_wants([Want(B, MAIN)], judged({MAIN: "unsigned"}))


def test_an_object_at_which_no_ref_stands_is_no_want_of_a_feed() -> None:
    with pytest.raises(NotFetched, match="no ref stands at it"):
        _check_wants([Want(B, B.hex().encode())], judged())
