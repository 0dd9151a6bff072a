# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of mirrors as their list changes: the guard."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.collection import mirrors as guard
from gtfs.collection.document import Signing
from gtfs.collection.mirrors import ABSENT_S, ListedRepository, Mirror, follow_list, most_absent, removals
from gtfs.collection.record import BadRecord, Gone, Record, approve, approved, read_record
from gtfs.collection.wanted import place_of
from gtfs.ids import Fingerprint

A, B = Signing((Fingerprint("A" * 40),)), Signing((Fingerprint("B" * 40),))
TOP = Path("/srv/mirrors")


def listed(name: str, **changes: object) -> ListedRepository:
    plain = ListedRepository(name, (f"https://example.org/{name}",), f"id-{name}", A, f"{abs(hash(name)):016x}"[:16])
    return replace(plain, **changes)  # type: ignore[arg-type]


def followed(*names: str, now_s: int = 0) -> dict[str, Mirror]:
    return follow_list({}, map(listed, names), TOP, now_s).mirrors


def test_new_repositories_get_a_directory_each() -> None:
    mirrors = followed("a", "b.git", "x/c")
    assert [str(m.directory) for m in mirrors.values()] == [f"{TOP}/a.git", f"{TOP}/b.git", f"{TOP}/x/c.git"]


def test_what_left_the_list_stays_and_the_day_is_noted_once() -> None:
    change = follow_list(followed("a", "b"), [listed("a")], TOP, 100)
    assert change.absent == ["b"] and change.mirrors["b"].absent_s == 100
    later = follow_list(change.mirrors, [listed("a")], TOP, 200)
    assert later.absent == [] and later.mirrors["b"].absent_s == 100


def test_what_comes_back_is_followed_as_before() -> None:
    gone = follow_list(followed("a", "b"), [listed("a")], TOP, 100).mirrors
    change = follow_list(gone, [listed("a"), listed("b")], TOP, 200)
    assert change.returned == ["b"] and change.mirrors == followed("a", "b")


@pytest.mark.parametrize("kept", ["reel", "feeds"])
def test_a_repository_with_another_name_keeps_its_mirror(kept: str) -> None:
    old = listed("old")
    new = replace(listed("new", repository=old.repository), **{kept: getattr(old, kept)})
    change = follow_list(followed("old", "b"), [new, listed("b")], TOP, 100)
    assert change.renamed == [("old", "new")] and not change.added and not change.absent
    assert change.mirrors["new"] == Mirror(new, TOP / "old.git")


@pytest.mark.parametrize("other", [{"signing": B}, {"repository": "id-x"}, {"reel": None}])
def test_another_key_id_or_history_is_another_repository(other: dict[str, object]) -> None:
    old = listed("old")
    new = replace(listed("new", repository=old.repository, reel=old.reel), **other)  # type: ignore[arg-type]
    change = follow_list(followed("old"), [new], TOP, 100)
    assert change.renamed == [] and change.added == ["new"] and change.absent == ["old"]


def test_a_new_name_that_could_be_two_others_is_neither() -> None:
    one, two = (listed(name, repository="fork", reel="0" * 16) for name in ("one", "two"))
    mirrors = follow_list({}, [one, two], TOP, 0).mirrors
    change = follow_list(mirrors, [replace(one, name="new", feeds=("https://x/",))], TOP, 100)
    assert change.renamed == [] and sorted(change.absent) == ["one", "two"]


def test_of_more_of_one_id_than_can_be_compared_none_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    old = [listed(f"old{n}", repository="fork") for n in range(3)]
    new = [replace(each, name=f"new{n}") for n, each in enumerate(old)]
    mirrors = follow_list({}, old, TOP, 0).mirrors
    monkeypatch.setattr(guard, "COMPARED", 9)
    assert len(follow_list(mirrors, new, TOP, 1).renamed) == 3
    monkeypatch.setattr(guard, "COMPARED", 8)
    change = follow_list(mirrors, new, TOP, 1)
    assert change.renamed == [] and len(change.added) == len(change.absent) == 3


def test_a_name_that_is_free_again_gets_another_directory_than_the_mirror_that_had_it() -> None:
    old = listed("a")
    renamed = follow_list(followed("a"), [replace(old, name="z")], TOP, 1).mirrors
    change = follow_list(renamed, [replace(old, name="z"), listed("a", repository="other")], TOP, 2)
    assert change.mirrors["z"].directory == TOP / "a.git" and change.mirrors["a"].directory == TOP / "a-2.git"


def test_another_repository_under_a_name_that_is_followed_is_named_and_the_mirror_stays() -> None:
    change = follow_list(followed("a"), [listed("a", repository="other")], TOP, 1)
    assert change.mirrors == followed("a")
    assert change.others == {"a": "it is other now, and the mirror here is of another repository"}


def test_no_mirror_is_made_within_that_of_another() -> None:
    gone = follow_list(followed("a"), [], TOP, 1).mirrors
    change = follow_list(gone, [listed("a.git/objects")], TOP, 2)
    assert "a.git/objects" not in change.mirrors and "within" in change.others["a.git/objects"]


NAMES = st.lists(st.sampled_from([f"{c}{d}" for c in "abcdxyz" for d in ("", "/e", ".git", "-2")]), max_size=12)


@given(st.lists(NAMES, max_size=5))
def test_two_mirrors_never_share_a_place(versions: list[list[str]]) -> None:
    mirrors: dict[str, Mirror] = {}
    for now_s, names in enumerate(versions):
        mirrors = follow_list(mirrors, [listed(name) for name in dict.fromkeys(names)], TOP, now_s).mirrors
        places = sorted(place_of(str(m.directory.relative_to(TOP))) for m in mirrors.values())
        for one, other in pairwise(places):
            assert other[: len(one)] != one


# -- removals -----------------------------------------------------------------------------------------------------


def some_absent(count: int, absent: int, since_s: int = 0) -> dict[str, Mirror]:
    mirrors = followed(*(f"r{n}" for n in range(count)))
    return {n: replace(m, absent_s=since_s) if i < absent else m for i, (n, m) in enumerate(mirrors.items())}


@pytest.mark.parametrize(
    ("count", "most"), [(0, 0), (1, 0), (2, 1), (5, 2), (20, 10), (100, 10), (200, 10), (1000, 50), (100_000, 5000)]
)
def test_so_many_may_be_absent_before_a_person_is_asked(count: int, most: int) -> None:
    assert most_absent(count) == most


def test_a_month_goes_by_by_our_clock_and_by_the_lists_date() -> None:
    mirrors = some_absent(40, 2)
    assert removals(mirrors, (), ABSENT_S, ABSENT_S).due == ("r0", "r1")
    early = removals(mirrors, (), ABSENT_S, ABSENT_S - 1)
    assert early.due == () and early.next_s == ABSENT_S
    assert removals(mirrors, (), ABSENT_S - 1, ABSENT_S * 9).due == ()


def test_over_the_limit_none_goes_not_even_the_first() -> None:
    found = removals(some_absent(40, 11), (), 9 * ABSENT_S, 9 * ABSENT_S)
    assert found.due == () and len(found.held) == 11 and found.next_s is None


def test_drops_that_trickle_in_add_up() -> None:
    mirrors = {n: replace(m, absent_s=i) for i, (n, m) in enumerate(some_absent(40, 11).items()) if i < 11}
    rest = {n: m for n, m in some_absent(40, 0).items() if n not in mirrors}
    assert removals({**mirrors, **rest}, (), 9 * ABSENT_S, 9 * ABSENT_S).due == ()


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_list_that_empties_itself_removes_nothing(count: int) -> None:
    found = removals(some_absent(count, count), (), 99 * ABSENT_S, 99 * ABSENT_S)
    assert found.due == () and len(found.held) == count


def test_what_a_person_approves_goes_at_once_and_counts_no_more() -> None:
    mirrors = some_absent(40, 11)
    assert removals(mirrors, ("r3", "r39"), 0, 0).due == ("r3",)
    assert len(removals(mirrors, ("r3",), 9 * ABSENT_S, 9 * ABSENT_S).due) == 11
    assert removals(mirrors, tuple(mirrors), 0, 0).held == ()


# -- what is kept -------------------------------------------------------------------------------------------------


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    mirrors = some_absent(3, 1, since_s=7)
    gone = {"g": Gone(Mirror(listed("g", signing=None, repository=None, reel=None), TOP / "g.git", 5), "")}
    record = Record(mirrors, gone, 9, {"x": "why"})
    record.write(tmp_path / "record")
    assert read_record(tmp_path / "record") == record
    assert read_record(tmp_path / "none") == Record()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "mirrors": [{"name": "../x"}]}', "[" * 9999]
)
def test_a_record_that_cannot_be_read_says_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record"
    path.write_text(text)
    with pytest.raises(BadRecord, match="move it away"):
        read_record(path)


def test_approvals_add_up_and_what_cannot_be_read_approves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "approved"
    approve(path, ["a"])
    approve(path, ["b"])
    assert approved(path) == {"a", "b"}
    path.write_text("{")
    assert approved(path) == ()
