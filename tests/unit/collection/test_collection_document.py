# SPDX-License-Identifier: GPL-3.0-or-later
"""A collection's text: written one way, read strictly, bounded."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.collection import document
from gtfs.collection.document import (
    BadCollection,
    Collection,
    RepositoryEntry,
    Signing,
    feeds_of,
    plain_description,
    read_collection,
)
from gtfs.collection.wanted import BadRepositoryName, NamePlaces, check_names, place_of
from gtfs.ids import Fingerprint

A, B = Fingerprint("A" * 40), Fingerprint("B" * 64)
FEEDS = ("https://git.example.org/{}/gtfs/catalogue/latest.asc",)
DAY_S = 24 * 3600


def entry(name: str, **changes: object) -> RepositoryEntry:
    plain = RepositoryEntry(name, "demo", 3, 1_800_000_000, Signing((A,)), feeds_of(name, FEEDS))
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


FULL = Collection(
    repository="kernel",
    version=2,
    previous="ab" * 32,
    date_s=1_800_000_000,
    valid_until_s=1_800_000_000 + 30 * DAY_S,
    signers=(A,),
    feeds=FEEDS,
    signing=Signing((A,)),
    entries=(
        entry("a", head=b"refs/heads/main", reel="01" * 8, description="A repository, 100 % of it"),
        entry("naïve name", description="Größe"),
        entry(
            "pub/linux.git", signing=Signing((A, B), 2), feeds=("https://other.example.org/a,b".replace(",", "%2C"),)
        ),
        entry("pub/tools", feeds=(*feeds_of("pub/tools", FEEDS), "gtfs:" + "cd" * 32 + "/tools")),
    ),
)


def text_of(*entries: RepositoryEntry) -> bytes:
    return dataclasses.replace(FULL, entries=entries).to_text().encode()


def with_line(line: str) -> bytes:
    return text_of(entry("a")).replace(b" a demo", b" " + line.encode() + b"\n a demo")


def test_what_is_written_is_read_back() -> None:
    assert read_collection(FULL.to_text().encode()) == FULL


def test_the_usual_feeds_and_keys_cost_a_line_two_characters() -> None:
    assert b"\n a demo 3 2027-01-15T08:00:00Z - - - -\n" in text_of(entry("a"))


NAMES = st.lists(
    st.text(st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="/\\"), min_size=1, max_size=20),
    min_size=1,
    max_size=4,
).map("/".join)


def is_good(names: list[str]) -> bool:
    try:
        check_names(names)
    except BadRepositoryName:
        return False
    return True


@given(
    st.dictionaries(
        NAMES,
        st.builds(
            RepositoryEntry,
            st.just("x"),
            st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,20}", fullmatch=True),
            st.integers(1, (1 << 53) - 1),
            st.integers(0, 4_000_000_000),
            st.sampled_from([Signing((A,)), Signing((B,)), Signing((A, B), 2)]),
            st.sampled_from([FEEDS, ("https://a.example.org/x",), (*FEEDS, "gtfs:" + "ef" * 32)]),
            st.sampled_from([None, "0123456789abcdef"]),
            st.sampled_from([None, b"refs/heads/main", "refs/heads/grün".encode()]),
            st.text(max_size=60).map(plain_description),
        ),
        max_size=6,
    ).filter(lambda found: is_good(list(found)))
)
def test_any_list_of_good_names_is_read_back(found: dict[str, RepositoryEntry]) -> None:
    entries = tuple(
        dataclasses.replace(found[name], name=name, feeds=feeds_of(name, found[name].feeds)) for name in sorted(found)
    )
    collection = dataclasses.replace(FULL, entries=entries)
    assert read_collection(collection.to_text().encode()) == collection


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 40))
def test_rubbish_in_a_text_is_read_or_refused(rubbish: bytes, at: int, cut: int) -> None:
    text = FULL.to_text().encode()
    try:
        found = read_collection(text[:at] + rubbish + text[at + cut :])
    except BadCollection as e:
        assert str(e).isprintable() and len(str(e)) < 1500
    else:
        check_names([each.name for each in found.entries])


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "x/../../y", "x/.git", ".git", "x//y", "x/", "-o", "a%2Fb", "a%0Ab", "a%1Bb", "a%FF", "a%41"]
    + ["a%E2%80%AEb", "a%5Cb", "a" * 300, "%C3%28"],
)
def test_a_name_that_leads_elsewhere_lies_or_has_two_spellings_is_refused(name: str) -> None:
    with pytest.raises(BadCollection):
        read_collection(text_of(entry("a")).replace(b" a demo", f" {name} demo".encode()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A", "a"),
        ("a", "a.git"),
        ("a", "a/b"),
        ("a", "a.git/objects"),
        ("a.GIT", "a"),
        ("x/É", "x/é"),
        ("x/\u00c9", "x/E\u0301"),
    ],
)
def test_two_names_that_are_one_place_on_some_disk_are_refused(one: str, other: str) -> None:
    with pytest.raises(BadCollection, match="such names cannot both be"):
        text_of(*sorted([entry(one), entry(other)], key=lambda e: e.name))
    for first, second in ((one, other), (other, one)):
        why = NamePlaces(["z", first]).why_not(second)
        assert why is not None and ascii(first) in why and why.endswith("; rename one of them")


def test_names_that_only_begin_alike_are_two() -> None:
    good = ["a", "a-b/c", "ab", "a-b.git2", "b/a"]
    check_names(good)
    assert [NamePlaces(good[:n]).why_not(name) for n, name in enumerate(good)] == [None] * len(good)
    assert place_of("Pub/Linux.git") == ("pub", "linux")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("0 demo 3 2027-01-15T08:00:00Z - - file -", "is no URL"),
        ("0 demo 3 2027-01-15T08:00:00Z - - relative/path -", "is no URL"),
        ("0 demo 3 2027-01-15T08:00:00Z - - ftp://a/b -", "the scheme"),
        ("0 demo 3 2027-02-30T08:00:00Z - - - -", "no time"),
        ("0 demo 3 2027-01-15T08:00:00Z - " + "a" * 40 + " - -", "is not FINGERPRINT"),
        ("0 demo 3 2027-01-15T08:00:00Z - 2/" + "A" * 40 + " - -", "2 signatures of 1 keys"),
        ("0 demo 3 2027-01-15T08:00:00Z - " + "A" * 50 + " - -", "is not FINGERPRINT"),
        ("0 demo 3 2027-01-15T08:00:00Z - - -,- -", "is no URL"),
        ("0 demo 3 2027-01-15T08:00:00Z - - - HEAD", "does not begin with refs/"),
        ("0 demo 9007199254740992 2027-01-15T08:00:00Z - - - -", "no number below"),
        ("0 demo 0 2027-01-15T08:00:00Z - - - -", "is not NAME ID"),
        ("b demo 3 2027-01-15T08:00:00Z - - - -", "not in order"),
        ("a demo 3 2027-01-15T08:00:00Z - - - -", "repeated"),
        ("0 demo 3 2027-01-15T08:00:00Z - - - - " + "x" * 300, "too long"),
        ("0 demo 3 2027-01-15T08:00:00Z - - - - a%1Bb", "cannot be shown"),
        ("0 demo 3 2027-01-15T08:00:00Z - - - - a%41b", "cannot be shown"),
    ],
)
def test_a_bad_line_is_refused_with_a_reason(line: str, why: str) -> None:
    with pytest.raises(BadCollection, match=r"^collection refused: Repositories: ") as e:
        read_collection(with_line(line))
    assert why in str(e.value)


def test_a_line_that_relies_on_a_default_needs_one() -> None:
    text = text_of(entry("a"))
    for field, why in (
        (b"Keys: " + b"A" * 40 + b"\n", "without keys"),
        (b"Feeds:\n " + FEEDS[0].encode() + b"\n", "none"),
    ):
        with pytest.raises(BadCollection, match=why):
            read_collection(text.replace(field, b""))


def test_more_repositories_or_bytes_than_the_limits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(entry("a"), entry("b"))
    monkeypatch.setattr(document, "ENTRIES", 1)
    with pytest.raises(BadCollection, match="over the limit repositories: 2 where 1 are allowed"):
        read_collection(text)
    monkeypatch.setattr(document, "TEXT_BYTES", len(text) - 1)
    with pytest.raises(BadCollection, match="over the limit collection"):
        read_collection(text)


def test_feeds_that_grow_with_the_names_are_counted_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "/".join("n" * 190 for _ in range(5))
    text = text_of(entry("a")).replace(b" https://git.example.org/{}", b" https://h.example/" + b"{}" * 400)
    with pytest.raises(BadCollection, match="over the limit of 2048 bytes"):
        read_collection(text.replace(b"\n a demo", b"\n " + long.encode() + b" demo"))
    # What a publisher's own templates do to one name costs him that name alone.
    with pytest.raises(BadCollection, match="over the limit of 2048 bytes"):
        feeds_of(long, ("https://h.example/{}{}{}",))
    monkeypatch.setattr(document, "FEEDS_BYTES", 2 * len(feeds_of("a", FEEDS)[0]))
    assert len(read_collection(text_of(entry("a"), entry("b"))).entries) == 2
    with pytest.raises(BadCollection, match="over the limit feeds"):
        text_of(entry("a"), entry("b"), entry("c"))


def test_a_hundred_thousand_repositories_fit_and_no_more() -> None:
    names = [f"pub/scm/linux/kernel/git/user{n:05d}/repository.git" for n in range(document.ENTRIES)]
    entries = tuple(entry(n, repository="ab" * 20, reel="01" * 8, head=b"refs/heads/master") for n in names)
    text = text_of(*entries)
    assert len(text) < document.TEXT_BYTES
    assert read_collection(text).entries == entries
    extra = b" q demo 3 2027-01-15T08:00:00Z - - - -\n"
    with pytest.raises(BadCollection, match="over the limit repositories: 100001"):
        read_collection(text + extra)


def test_a_catalogue_is_no_collection() -> None:
    with pytest.raises(BadCollection, match="unknown format 'gtfs-catalogue-1'"):
        read_collection(FULL.to_text().encode().replace(b"gtfs-collection-1", b"gtfs-catalogue-1"))


def test_what_a_statement_says_of_itself_is_held_to_the_rules_of_catalogues() -> None:
    text = FULL.to_text().encode()
    for old, new in (
        (b"Version: 2", b"Version: 1"),
        (b"Threshold: 1", b"Threshold: 2"),
        (b"Version: 2", b"Version: x"),
    ):
        with pytest.raises(BadCollection):
            read_collection(text.replace(old, new))


def test_a_description_is_made_one_line_that_can_be_shown() -> None:
    assert plain_description("a\tb\nc\x1b[1m \u202e ") == "a b c [1m"
    assert len(plain_description("ü" * 300).encode()) == 200
