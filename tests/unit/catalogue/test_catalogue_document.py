# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.catalogue.addresses import is_push_url
from gtfs.catalogue.document import BadCatalogue, Catalogue, ReelEntry, digest, from_text
from gtfs.ids import SHA256, Fingerprint, InfoHash, ObjectId, ReelName
from gtfs.trust.policy import Policy
from gtfs.trust.refnames import BadRefName, check_ref_name

A, B = Fingerprint("A" * 40), Fingerprint("B" * 40)
PLAIN = Catalogue("demo", 1, None, 1_800_000_000, 1_802_592_000, (A,))
FULL = Catalogue(
    repository="11" * 20,
    version=7,
    previous="ab" * 32,
    date_s=1_800_000_000,
    valid_until_s=1_802_592_000,
    signers=(B, A),
    threshold=2,
    feed_key="cd" * 32,
    trackers=("udp://tracker.example.org:6969/announce", "https://tracker.example.org/announce"),
    web_seeds=("https://example.org/reels/",),
    push_url="ssh://git@example.org:2222/~me/demo.git",
    policy=(Policy(b"refs/tags/*", "tag", 2, frozenset({A})), Policy(b"**", "catalogue", non_fast_forward=True)),
    accepted_faults=(ObjectId(b"\6" * 20), ObjectId(b"\7" * 20)),
    head=b"refs/heads/m\xfcnchen",
    refs={
        b"refs/heads/a%b": ObjectId(b"\1" * 20),
        b"refs/heads/a-b": ObjectId(b"\2" * 20),
        b"refs/heads/m\xfcnchen": ObjectId(b"\3" * 20),
    },
    reels=(
        ReelEntry(ReelName("ef" * 32), InfoHash(b"\4" * 20), 1 << 34, 1000),
        ReelEntry(ReelName("01" * 32), InfoHash(b"\5" * 20), 200, 1),
    ),
)
TEXT = FULL.to_text()


@pytest.mark.parametrize("catalogue", [PLAIN, FULL])
def test_a_catalogue_is_read_as_it_was_written(catalogue: Catalogue) -> None:
    text = catalogue.to_text()
    assert from_text(text.encode()) == catalogue
    assert from_text(text.encode()).to_text() == text
    assert list(from_text(text.encode()).refs) == sorted(catalogue.refs)


def test_refs_are_sorted_by_their_bytes_whatever_the_order_they_were_given_in() -> None:
    turned = dataclasses.replace(FULL, refs=dict(reversed(FULL.refs.items())))
    assert turned.to_text() == TEXT


def test_ref_names_that_are_not_printable_ascii_are_percent_encoded() -> None:
    assert "refs/heads/m%FCnchen" in TEXT and "refs/heads/a%25b" in TEXT


@pytest.mark.parametrize("lines", [["06"], ["06" * 20, "06" * 20], ["07" * 20, "06" * 20], ["06" * 32], ["0G" * 20]])
def test_accepted_faults_are_ids_of_the_repository_sorted_and_once_each(lines: list[str]) -> None:
    changed = TEXT.replace(
        "\n" + "".join(f" {byte * 20}\n" for byte in ("06", "07")), "\n" + "".join(f" {x}\n" for x in lines)
    )
    assert changed != TEXT
    with pytest.raises(BadCatalogue) as caught:
        from_text(changed.encode())
    assert caught.value.field == "Accepted-Faults"


def test_unknown_fields_are_ignored() -> None:
    assert from_text((TEXT + "New-Field: x\n y\n").encode()) == FULL


def test_who_does_not_know_the_place_to_push_to_reads_all_the_rest() -> None:
    assert from_text(TEXT.replace("Push-URL", "Unheard-Of").encode()) == dataclasses.replace(FULL, push_url=None)


@pytest.mark.parametrize(
    "text",
    ["https://example.org/demo.git", "http://[::1]:8080/x", "git://h", "ssh://h/p", "git@h:p", "h:/srv/p.git", "h:~/p",
     "file:///srv/git/demo.git", "[fe80::1]:p"],
)  # fmt: skip
def test_a_place_to_push_to_is_a_url_or_an_address_as_scp_takes_it(text: str) -> None:
    assert is_push_url(text)


@pytest.mark.parametrize(
    "text",
    ["", "-oProxyCommand=x", "--upload-pack=x", "ext::sh -c id", "ext::x", "h::p", "/srv/p", "p", "https:///p", "ftp://h/p",
     "ssh://-x/p", "-x@h:p", "h:-p", "h://p", "https://u:p@h/p", "h:a b", "h:a'b", "h:$x", "h:`x`", "h:a;b", "h:a\n",
     "h:a\x1b[2J", "h:\u202ea", "file://h/p", "https://h/p?x&y", "https://h/#p", "HTTPS://h/p", "h:" + "a" * 2048],
)  # fmt: skip
def test_what_a_shell_or_a_program_could_take_for_more_than_a_place_is_none(text: str) -> None:
    assert not is_push_url(text)


def test_the_digest_is_of_the_text() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sha256_repositories() -> None:
    refs = {b"refs/heads/main": ObjectId(b"\1" * 32)}
    catalogue = dataclasses.replace(PLAIN, object_format=SHA256, refs=refs)
    assert from_text(catalogue.to_text().encode()) == catalogue
    with pytest.raises(BadCatalogue, match="no id of a sha1"):
        dataclasses.replace(PLAIN, refs=refs).to_text()


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("Format: gtfs-catalogue-1", "Format: gtfs-catalogue-3", "Format"),
        ("Encoding: gtfs-pack-1", "Encoding: gtfs-pack-2", "Encoding"),
        ("Object-Format: sha1", "Object-Format: md5", "Object-Format"),
        ("Repository: ", "Repository: ../", "Repository"),
        ("Version: 7", "Version: 07", "Version"),
        ("Version: 7", "Version: 0", "Version"),
        ("Version: 7", "Version: 1", "Previous"),
        ("Previous: ab", "Previous: AB", "Previous"),
        ("Valid-Until: 2027", "Valid-Until: 2026", "Valid-Until"),
        ("Threshold: 2", "Threshold: 3", "Threshold"),
        ("Threshold: 2", "Threshold: 0", "Threshold"),
        ("Signers:\n " + B, "Signers:\n " + A, "Signers"),
        ("Signers:\n " + B, "Signers:\n " + B.lower(), "Signers"),
        ("Signers:\n " + B, "Signers:\n " + B[-16:], "Signers"),
        ("udp://", "file://", "Trackers"),
        ("udp://", "udp:/", "Trackers"),
        (":6969/", ":99999/", "Trackers"),
        ("https://example.org/reels/", "udp://example.org/", "Web-Seeds"),
        ("ssh://git@", "ssh://-oProxyCommand=x@", "Push-URL"),
        ("ssh://git@", "ssh://git:secret@", "Push-URL"),
        ("~me/demo.git", "$(id)", "Push-URL"),
        ("** catalogue", "** local", "Policy"),
        ("** catalogue", "** unheard-of", "Policy"),
        ("Head: refs/heads/m%FCnchen", "Head: main", "Head"),
        ("01" * 20 + " refs", "01" * 19 + " refs", "Refs"),
        ("01" * 20 + " refs", "00" * 20 + " refs", "Refs"),
        ("refs/heads/a%25b", "refs/heads/z", "Refs"),
        ("refs/heads/a%25b", "refs/heads/a-b", "Refs"),
        ("refs/heads/a%25b", "refs/gtfs/tips/1", "Refs"),
        ("refs/heads/a%25b", "refs/heads/a..b", "Refs"),
        ("m%FCnchen\nReels", "m%fcnchen\nReels", "Refs"),
        ("m%FCnchen\nReels", "a-b/c\nReels", "Refs"),
        (" 200 1\n", " 100 0\n", "Reels"),
        (" 200 1\n", " -1 1\n", "Reels"),
        ("01" * 32, "ef" * 32, "Reels"),
        ("05" * 20, "04" * 20, "Reels"),
        (" 200 1\n", " 100 1 1\n", "Reels"),
    ],
)
def test_every_field_is_read_strictly(old: str, new: str, field: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(BadCatalogue) as caught:
        from_text(TEXT.replace(old, new).encode())
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["Format", "Repository", "Version", "Date", "Valid-Until", "Signers", "Threshold"])
def test_needed_fields(name: str) -> None:
    with pytest.raises(BadCatalogue):
        from_text(TEXT.replace(name + ":", "X-" + name + ":").encode())


def test_a_repeated_field_is_refused() -> None:
    with pytest.raises(BadCatalogue, match="comes twice"):
        from_text((TEXT + "version: 8\n").encode())


def test_too_long_a_text_is_refused() -> None:
    with pytest.raises(BadCatalogue, match="over the limit catalogue"):
        from_text(b"A" * ((16 << 20) + 1))


@pytest.mark.parametrize(
    "bad",
    [
        dataclasses.replace(PLAIN, repository="a\nVersion: 9"),
        dataclasses.replace(PLAIN, trackers=("http://x/\nRepository: b",)),
        dataclasses.replace(PLAIN, trackers=("http://exämple/",)),
        dataclasses.replace(PLAIN, refs={b"refs/heads/a b": ObjectId(b"\1" * 20)}),
        dataclasses.replace(PLAIN, version=2),
        dataclasses.replace(PLAIN, threshold=2),
    ],
)
def test_what_would_not_be_read_back_is_not_written(bad: Catalogue) -> None:
    with pytest.raises(BadCatalogue):
        bad.to_text()


def valid_names(names: list[bytes]) -> dict[bytes, ObjectId]:
    refs: dict[bytes, ObjectId] = {}
    for name in sorted(b"refs/heads/" + name.replace(b"/", b"-") for name in names):
        try:
            check_ref_name(name)
        except BadRefName:
            continue
        refs[name] = ObjectId(b"\7" * 20)
    return refs


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=20).map(valid_names))
def test_every_allowed_ref_name_survives(refs: dict[bytes, ObjectId]) -> None:
    catalogue = dataclasses.replace(PLAIN, refs=refs)
    assert from_text(catalogue.to_text().encode()) == catalogue


@given(st.data())
def test_any_changed_byte_gives_a_catalogue_or_a_clean_refusal(data: st.DataObject) -> None:
    text = bytearray(TEXT.encode())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        from_text(bytes(text))
    except BadCatalogue:
        pass


def reel(number: int, size: int = 200, rows: int = 1) -> bytes:
    return b" %064x %040x %d %d\n" % (number, number, size, rows)


def test_a_reel_beyond_every_limit_is_unusable_and_the_others_are_not() -> None:
    for line in (reel(1, 10**18 - 1), reel(1, 10**17), reel(1, (32 << 30) + 1), reel(1, 200, 10**9 - 1), reel(1, 139)):
        catalogue = from_text(PLAIN.to_text().encode() + line + reel(2))
        assert [r.name for r in catalogue.reels] == [f"{2:064x}"]
        assert list(catalogue.unusable) == [f"{1:064x}"]
    assert not from_text(PLAIN.to_text().encode() + reel(1, 32 << 30) + reel(2, 140)).unusable


def test_two_reels_of_one_name_or_of_one_infohash_are_no_catalogue() -> None:
    one, other = reel(1), reel(2)
    for second in (one[:66] + other[66:], other[:66] + one[66:]):
        with pytest.raises(BadCatalogue, match="a reel is repeated"):
            from_text(PLAIN.to_text().encode() + one + second)


def test_reels_are_usable_up_to_a_number_and_a_total() -> None:
    many = from_text(PLAIN.to_text().encode() + b"".join(map(reel, range(1, 5001))))
    assert len(many.reels) == 4096 and len(many.unusable) == 904
    large = from_text(PLAIN.to_text().encode() + b"".join(reel(n, 32 << 30) for n in range(1, 201)))
    assert sum(r.size for r in large.reels) == 4 << 40 and len(large.unusable) == 72
    assert "more than 4398046511104 bytes together" in large.unusable[ReelName(f"{200:064x}")]


def test_what_no_mirror_could_take_is_not_written() -> None:
    with pytest.raises(BadCatalogue, match="read back"):
        dataclasses.replace(PLAIN, reels=(ReelEntry(ReelName("ef" * 32), InfoHash(b"\4" * 20), 1 << 40, 1),)).to_text()


@pytest.mark.parametrize(
    ("one", "other"),
    [(b"refs/a", b"refs/a/b"), (b"refs/a", b"refs/a/b/c"), (b"refs/a-", b"refs/a-/b"), (b"refs/a/b", b"refs/a/b/c.d")],
)
def test_a_ref_below_another_is_refused_whatever_lies_between_them(one: bytes, other: bytes) -> None:
    between = [b"refs/a!", b"refs/a+", b"refs/a.a", b"refs/a-b", b"refs/a/b-c", b"refs/a/b.c", b"refs/b"]
    refs = {name: ObjectId(b"\1" * 20) for name in {one, other, *between}}
    with pytest.raises(BadCatalogue, match="exclude each other"):
        dataclasses.replace(PLAIN, refs=refs).to_text()


@pytest.mark.parametrize("year", ["0001", "1969", "9999"])
def test_every_year_can_be_read(year: str) -> None:
    text = TEXT.replace("Date: 2027", "Date: 0001").replace("Valid-Until: 2027", f"Valid-Until: {year}")
    assert from_text(text.encode()).to_text() == text


def test_a_catalogue_without_later_fields_has_the_bytes_that_it_had_before_them() -> None:
    key = "D0ECAD768B7E0EA2318EDB23007BA614D6DBD705"
    text = (
        "Format: gtfs-catalogue-1\n"
        "Repository: demo\n"
        "Version: 2\n"
        "Previous: 03ca4d876297ad0f7775bf62baeab3b12b2dada155258a3e37e8fcb35aef1e99\n"
        "Date: 2026-11-22T15:15:40Z\n"
        "Valid-Until: 2026-12-22T15:15:40Z\n"
        "Object-Format: sha1\n"
        "Encoding: gtfs-pack-1\n"
        "Trackers:\n"
        " udp://tracker.example.org:6969/announce\n"
        "Policy:\n"
        f" refs/tags/** tag by={key}\n"
        "Signers:\n"
        f" {key}\n"
        "Threshold: 1\n"
        "Head: refs/heads/main\n"
        "Refs:\n"
        " 23a3c70d71c101ea4e8b8f106e146a63cc8835de refs/heads/main\n"
        "Reels:\n"
        " 6902205f1b5028dd3fb93e7bb271329aed6868b6e5da039fb6d324aaf19da34b"
        " 85e120c1030d736e5b375ef789808add81430829 3253 6\n"
    )
    found = from_text(text.encode())
    assert (found.freshness, found.raced, found.follows) == ((), (), (found.previous,))
    assert found.to_text() == text
