# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from gtfs.trust.objects import BadSignedObject, split_signed_object, tag_name

HEADER = b"tree " + b"1" * 40 + b"\nparent " + b"2" * 40 + b"\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n"
ARMOR = b"-----BEGIN PGP SIGNATURE-----\n\naGVsbG8=\n-----END PGP SIGNATURE-----"
FOLDED = ARMOR.replace(b"\n", b"\n ")
TAG = b"object " + b"1" * 40 + b"\ntype commit\ntag v1\ntagger A <a> 1 +0000\n\nfirst\n"


def test_commit_without_a_signature_is_its_own_payload() -> None:
    raw = HEADER + b"\nmessage\n"
    assert split_signed_object(raw) == (raw, None, "openpgp")


@pytest.mark.parametrize("after", [b"", b"encoding latin-1\n"])
def test_commit_signature_is_taken_out_of_the_header(after: bytes) -> None:
    raw = HEADER + b"gpgsig " + FOLDED + b"\n" + after + b"\nmessage\n"
    assert split_signed_object(raw) == (HEADER + after + b"\nmessage\n", ARMOR + b"\n", "openpgp")


def test_empty_lines_after_the_armor_are_forgiven_as_github_writes_one() -> None:
    raw = HEADER + b"gpgsig " + FOLDED + b"\n \n\nmessage\n"
    assert split_signed_object(raw) == (HEADER + b"\nmessage\n", ARMOR + b"\n", "openpgp")


def test_gpgsig_in_the_message_or_in_a_mergetag_is_text() -> None:
    raw = HEADER + b"mergetag object 12\n gpgsig " + FOLDED + b"\n\ngpgsig in the message\n"
    assert split_signed_object(raw).signature is None


@pytest.mark.parametrize(
    ("kind", "begin"),
    [("ssh", b"-----BEGIN SSH SIGNATURE-----"), ("x509", b"-----BEGIN SIGNED MESSAGE-----")],
)
def test_other_kinds_of_signature_are_told_apart(kind: str, begin: bytes) -> None:
    signature = begin + b"\n x\n " + begin.replace(b"BEGIN", b"END")
    assert split_signed_object(HEADER + b"gpgsig " + signature + b"\n\nm\n").kind == kind


@pytest.mark.parametrize(
    "raw",
    [
        HEADER + b"gpgsig " + FOLDED + b"\ngpgsig " + FOLDED + b"\n\nm\n",
        HEADER + b"gpgsig " + FOLDED + b"\ngpgsig-sha256 " + FOLDED + b"\n\nm\n",
        HEADER + b"gpgsig-sha256 " + FOLDED + b"\n\nm\n",
        HEADER + b"gpgsigX junk\ngpgsig " + FOLDED + b"\n\nm\n",
        HEADER + b"gpgsig\n\nm\n",
        HEADER + b"gpgsig " + FOLDED + b"\n more\n\nm\n",
        HEADER + b"gpgsig " + FOLDED + b"\n " + FOLDED + b"\n\nm\n",
        HEADER + b"gpgsig " + FOLDED.replace(b"END", b"EN") + b"\n\nm\n",
        HEADER + b"gpgsig " + b"-----BEGIN PGP SIGNATURE-----\n " + b"a" * 17000 + b"\n\nm\n",
        TAG + ARMOR + b"\nmore text\n",
        TAG + ARMOR + b"\n" + ARMOR + b"\n",
        TAG.replace(b"\n\n", b"\ngpgsig-sha256 x\n\n") + ARMOR + b"\n",
        TAG.replace(b"\n\n", b"\n" + ARMOR + b"\n\n"),
        b"blob",
        b"",
    ],
)
def test_anything_ambiguous_is_refused(raw: bytes) -> None:
    with pytest.raises(BadSignedObject):
        split_signed_object(raw)


def test_sha256_commits_are_signed_in_their_own_header() -> None:
    header = HEADER.replace(b"1" * 40, b"1" * 64)
    assert split_signed_object(header + b"gpgsig-sha256 " + FOLDED + b"\n\nm\n").signature == ARMOR + b"\n"
    with pytest.raises(BadSignedObject):
        split_signed_object(header + b"gpgsig " + FOLDED + b"\n\nm\n")


def test_tag_signature_is_the_end_of_its_message() -> None:
    assert split_signed_object(TAG + ARMOR + b"\n") == (TAG, ARMOR + b"\n", "openpgp")
    assert split_signed_object(TAG).signature is None


def test_tag_names_itself_once() -> None:
    assert tag_name(TAG) == b"v1"
    assert tag_name(TAG + b"\ntag other\n") == b"v1"
    with pytest.raises(BadSignedObject):
        tag_name(TAG.replace(b"tag v1", b"tag v1\ntag v2"))


def test_a_header_over_the_limit_is_refused() -> None:
    for raw in (b"tree %s\n", b"object %s\n"):
        with pytest.raises(BadSignedObject, match="over the limit header"):
            split_signed_object(raw % (b"a" * 40) + b"a\n" * (2 << 20) + b"\nm\n")
    with pytest.raises(BadSignedObject, match="over the limit header"):
        tag_name(b"tag v1\n" + b"a\n" * (2 << 20))
