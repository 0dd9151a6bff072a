# SPDX-License-Identifier: GPL-3.0-or-later
"""Header lines of commits and tags are judged as git's fsck does."""

from __future__ import annotations

import pytest

from gtfs.ids import SHA1
from gtfs.ingest.headers import find_in_commit, find_in_tag
from gtfs.pack.format import CorruptPack

HEX = b"a" * 40
PERSON = b"A <a@b> 1 +0000"
TREE = b"tree " + HEX + b"\n"
MADE = b"author " + PERSON + b"\ncommitter " + PERSON + b"\n"
TAG = b"object " + HEX + b"\ntype commit\ntag %s\ntagger " + PERSON + b"\n\nm\n"


@pytest.mark.parametrize(
    "raw",
    [
        TREE + MADE,
        TREE + MADE + b"\nmessage",
        TREE + b"parent " + HEX + b"\nparent " + HEX + b"\n" + MADE + b"\n",
        TREE + MADE + b"encoding latin1\nHG:extra x\n\nm\n",
        TREE + MADE + b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\nm\n",
        TREE + b"author A  B <> 0 -0000\ncommitter  <a b>  99999999999 +9999\n\n",
        TREE + MADE + b"gpgsig -----BEGIN PGP SIGNATURE-----\ngpgsig x\ngpgsig -----END PGP SIGNATURE-----\n\nm\n",
    ],
    ids=range(7),
)
def test_good_commits(raw: bytes) -> None:
    assert find_in_commit(raw, SHA1) == []


def names(found: list[str]) -> list[str]:
    return [text.partition(":")[0] for text in found]


def ident(person: bytes) -> bytes:
    return TREE + b"author " + person + b"\ncommitter " + PERSON + b"\n\nm\n"


@pytest.mark.parametrize(
    ("person", "fault"),
    [
        (b"<a@b> 1 +0000", "missingNameBeforeEmail"),
        (b"A> <a@b> 1 +0000", "badName"),
        (b"A 1 +0000", "missingEmail"),
        (b"A<a@b> 1 +0000", "missingSpaceBeforeEmail"),
        (b"A <a<b> 1 +0000", "badEmail"),
        (b"A <a@b 1 +0000", "badEmail"),
        (b"A <a@b> 01 +0000", "zeroPaddedDate"),
        (b"A <a@b> one +0000", "badDate"),
        (b"A <a@b> 1", "badDate"),
        (b"A <a@b> " + b"9" * 30 + b" +0000", "badDateOverflow"),
        (b"A <a@b> 9223372036854775808 +0000", "badDateOverflow"),
        (b"A <a@b> -1 +0000", "badDateOverflow"),
        (b"A\r", "missingEmail"),
        (b"A \r<a@b> 1 +0000", "missingSpaceBeforeEmail"),
    ],
)
def test_people_and_times_that_git_complains_of(person: bytes, fault: str) -> None:
    assert names(find_in_commit(ident(person), SHA1)) == [fault]
    assert names(find_in_commit(TREE + b"author " + PERSON + b"\ncommitter " + person + b"\n\nm\n", SHA1)) == [fault]
    assert names(find_in_tag((TAG % b"v1").replace(PERSON, person), SHA1)) == [fault]


@pytest.mark.parametrize(
    ("raw", "warning"),
    [
        (ident(b"A <a@b> 1 +000"), "badTimezone"),
        (ident(b"A <a@b> 1 0000"), "badTimezone"),
        (ident(b"A <a@b> 1 +00000"), "badTimezone"),
        (ident(b"A <a@b>1 +0000"), "missingSpaceBeforeDate"),
        (TREE + MADE + b"\nm\0m", "nulInCommit"),
    ],
)
def test_what_real_history_has_is_found(raw: bytes, warning: str) -> None:
    (text,) = find_in_commit(raw, SHA1)
    assert text.startswith(warning)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (TREE + MADE[:-1], "unterminatedHeader"),
        (TREE + MADE + b"x\0y\n\n", "nulInHeader"),
        (TREE + b"author A\0 <a@b> 1 +0000\ncommitter " + PERSON + b"\n\n", "nulInHeader"),
        (TREE + b"\nm", "missingAuthor"),
        (TREE + b"committer " + PERSON + b"\n", "missingAuthor"),
        (TREE + b"author " + PERSON + b"\n" + MADE, "multipleAuthors"),
        (TREE + b"author " + PERSON + b"\n\n", "missingCommitter"),
        (TREE + MADE + b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n abc\n\nm", "signatureWithoutEnd"),
        (
            TREE + MADE + b"gpgsig-sha256 -----BEGIN SSH SIGNATURE-----\n -----END PGP SIGNATURE-----\n\n",
            "signatureWithoutEnd",
        ),
    ],
    ids=range(9),
)
def test_commits_that_git_or_we_complain_of(raw: bytes, fault: str) -> None:
    assert fault in names(find_in_commit(raw, SHA1))


def test_all_faults_of_a_commit_are_found() -> None:
    raw = TREE + b"author A> x\nauthor <a@b> 1 +0000\ncommitter A <a@b> 01 +0000"
    wanted = ["unterminatedHeader", "badName", "missingNameBeforeEmail", "multipleAuthors", "zeroPaddedDate"]
    assert names(find_in_commit(raw, SHA1)) == wanted


@pytest.mark.parametrize("raw", [b"", b"\n", MADE, b"tree 12\n" + MADE, TREE + b"parent 12\n" + MADE])
def test_names_of_objects_must_be_whole(raw: bytes) -> None:
    with pytest.raises(CorruptPack):
        find_in_commit(raw, SHA1)
    with pytest.raises(CorruptPack):
        find_in_tag(raw, SHA1)


@pytest.mark.parametrize("name", [b"v1", b"a/b", b"x.lock.y", b"-", b"@", b"caf\xc3\xa9"])
def test_good_tag_names(name: bytes) -> None:
    assert find_in_tag(TAG % name, SHA1) == []


@pytest.mark.parametrize(
    "name", [b"", b".a", b"a/.b", b"a..b", b"a b", b"a~", b"a^", b"a:b", b"a?", b"a*", b"a[", b"a\\b", b"a@{b", b"/a"]
    + [b"a/", b"a//b", b"a.", b"a.lock", b"a.lock/b", b"a\x7f", b"a\t"],
)  # fmt: skip
def test_bad_tag_names(name: bytes) -> None:
    assert names(find_in_tag(TAG % name, SHA1)) == ["badTagName"]


def test_a_tag_needs_its_name_and_may_lack_its_tagger() -> None:
    assert names(find_in_tag(b"object " + HEX + b"\ntype blob\ntag v1\n\nm\n", SHA1)) == ["missingTaggerEntry"]
    assert names(find_in_tag(TAG[:-4] % b"v1", SHA1)) == ["unterminatedHeader"]
    with pytest.raises(CorruptPack, match="missingTagEntry"):
        find_in_tag(b"object " + HEX + b"\ntype blob\ntagger " + PERSON + b"\n\n", SHA1)
    with pytest.raises(CorruptPack, match="missingTag:"):
        find_in_tag(b"object " + HEX + b"\ntype blob\ntag v1", SHA1)
