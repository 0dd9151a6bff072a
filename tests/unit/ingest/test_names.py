# SPDX-License-Identifier: GPL-3.0-or-later
"""Path components: what HFS+, NTFS and a backslash make of them."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.ingest.names import _REMARKABLE, any_remarkable, link_fault, look_at


def fault_of(name: bytes) -> str:
    look = look_at(name)
    return (look.fault if look else None) or ""


DOTGITS = [b".git", b".GiT", b".git.", b".git ", b".git . .", b"git~1", b"GIT~1 ", b".git::$INDEX_ALLOCATION", b".git:"]
DOTGITS += [b".g\xe2\x80\x8cit", b"\xef\xbb\xbf.git", b".git\xe2\x81\xaf", b".gi\xe2\x80\xaet", b"a\\.git", b".git\\x"]

# Where git stops reading: at what is no UTF-8, and at U+FFFE.
DOTGITS += [
    b".git\xff",
    b".Git\xfcx",
    b".g\xe2\x80\x8cit\xc3",
    b".git\xef\xbf\xbe",
    b".git\xed\xa0\x80",
    b".git\xff\\x",
]


@pytest.mark.parametrize("name", DOTGITS)
def test_dotgit_in_every_guise_is_noticed(name: bytes) -> None:
    assert any_remarkable(name)
    assert any_remarkable(b"a\0" + name)
    assert "hasDotgit" in fault_of(name)


@pytest.mark.parametrize(
    "name",
    [
        b".gitx",
        b".github",
        b".git-x",
        b"git",
        b"git~2",
        b"x.git",
        b".gi",
        b"...",
        b"a\\b",
        b"-rf",
        b"\xff",
        b".git\xc3\xbc",
        b".git.\xff",
    ],
)
def test_ordinary_names_are_good(name: bytes) -> None:
    assert look_at(name) is None


def test_the_other_faults_are_named() -> None:
    assert "hasDot:" in fault_of(b".")
    assert "hasDotdot" in fault_of(b"..")
    assert "fullPathname" in fault_of(b"/a")
    assert "backslash" in fault_of(b"a\\..\\b")
    assert "backslash" in fault_of(b"..\\b")


def test_only_remarkable_names_have_faults_or_are_special() -> None:
    """`any_remarkable` is a shortcut: no name that it lets pass may have mattered."""
    pool = [
        *DOTGITS,
        b".",
        b"..",
        b"a/b",
        b"a\x1fb",
        b"a\\..",
        b"gi7eba~1",
        b".mailmap",
        b"plain",
        b"git",
        b"MABA30~1",
        b"a~b",
    ]
    for name in pool:
        if look_at(name):
            assert any_remarkable(b"x\0" + name + b"\0y")


@given(st.lists(st.lists(st.sampled_from(b"./\\~\x01\x1f\x20\x7f\x80\x8c\x81\xbb\xbf\xe2\xef\xffagit1"), min_size=1)))
def test_the_quick_look_at_many_names_is_the_slow_one(some: list[list[int]]) -> None:
    joined = b"\0".join(map(bytes, some))
    assert any_remarkable(joined) == bool(_REMARKABLE.search(joined))
    assert all(any_remarkable(bytes([b])) == bool(_REMARKABLE.search(bytes([b]))) for b in range(1, 256))


@pytest.mark.parametrize(
    ("name", "which"),
    [
        (b".gitmodules", "gitmodules"),
        (b".GITMODULES. ", "gitmodules"),
        (b".gitmodules:stream", "gitmodules"),
        (b"GITMOD~1", "gitmodules"),
        (b"gitmod~4", "gitmodules"),
        (b"gi7eba~1", "gitmodules"),
        (b"GI7EB~10", "gitmodules"),
        (b"gi~12345", "gitmodules"),
        (b"~1000000", "gitmodules"),
        (b"x\\.gitmodules", "gitmodules"),
        (b".git\xe2\x80\x8cmodules", "gitmodules"),
        (b".gitattributes", "gitattributes"),
        (b"gi7d29~1", "gitattributes"),
        (b".gitignore", "gitignore"),
        (b"gi250a~9", "gitignore"),
        (b".mailmap", "mailmap"),
        (b"MABA30~1", "mailmap"),
        (b"mailma~1", "mailmap"),
        (b"gitmod~5", None),
        (b"gi7eba~0", None),
        (b"gi7eba1", None),
        (b"gitmodules", None),
        (b".gitmodules_", None),
    ],
)
def test_special_files_by_all_their_names(name: bytes, which: str | None) -> None:
    look = look_at(name)
    assert (look.special if look else None) == which


def test_links_enter_a_dotgit_by_any_separator() -> None:
    assert link_fault(b"../.git/hooks")
    assert link_fault(b"..\\.GIT\\hooks")
    assert not link_fault(b"../.gitignore/x.git")


def kind_of_link(target: bytes) -> str:
    return (link_fault(target) or "").partition(":")[0]


@pytest.mark.parametrize(
    "target",
    [
        b".git/annex/objects/a",
        b"../../.git/annex/objects/4V/J0/K/K",
        b"./../x/../.git/./annex//objects/K",
        b".git/annex/objects/a b",
    ],
)
def test_links_of_git_annex_are_told_apart(target: bytes) -> None:
    assert kind_of_link(target) == "annexLink"


@pytest.mark.parametrize(
    "target",
    [
        b".git/annex/objects",
        b".git/annex/objects/",
        b".git/annex/objects/..",
        b".git/annex/objects/../../hooks/x",
        b".git/annex/hooks/x",
        b".git/annexed/objects/x",
        b".GIT/annex/objects/x",
        b"git~1/annex/objects/x",
        b".git /annex/objects/x",
        b"/srv/.git/annex/objects/x",
        b"sub/.git/annex/objects/x",
        b".git/annex/objects/a/.git/hooks",
        b".git/annex/objects/..\\..\\hooks\\x",
        b".git/annex/objects/..\\..\\hooks\\.git",
        b".git\\annex\\objects\\x",
        b".git/hooks/annex/objects/x",
    ],
)
def test_nothing_else_below_a_dotgit_is_git_annex_s(target: bytes) -> None:
    assert kind_of_link(target) == "linkIntoDotgit"


def test_long_names_are_not_remembered() -> None:
    tracemalloc.start()
    try:
        for n in range(40):
            assert look_at(b".gitignore ~%d" % n + b"x" * (1 << 20)) is None
        assert tracemalloc.get_traced_memory()[0] < 8 << 20
    finally:
        tracemalloc.stop()
