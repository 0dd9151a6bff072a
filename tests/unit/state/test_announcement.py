# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile tag says is shown in its announcement, and is nothing else there."""

from __future__ import annotations

import email
import email.policy
import itertools
import re
from datetime import timedelta

import pytest

from gtfs.ids import Fingerprint, ObjectId
from gtfs.state.announcement import (
    BadMailAddress,
    Publisher,
    Release,
    check_address,
    compose,
    make_mail,
    message_id,
    read_tag,
    subject,
)

OID = ObjectId(bytes(range(20)))
DATE_S = 1_700_000_123
RELEASE = Release(OID, (b"refs/tags/v1",), None, 7, "d" * 64, DATE_S)
WHO = b"A U Thor <author@example.org> 1700000000 +0200"
HEADERS = [
    "Content-Transfer-Encoding", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To",
]  # fmt: skip
ADDRESSES = {"author@example.org", "a@b", "c@d", "j@b.org", "unknown@gtfs.invalid"}
BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n"
END = b"-----BEGIN PGP SIGNATURE-----\n\nxx\n-----END PGP SIGNATURE-----\n"
ORDINARY = re.compile(
    r"The tag .* is published\."
    r"|(?:Subject|Message-ID|Repository|Tag|Was|Names|Tagger|Tagged|Catalogue|Signed-By|Source|Moved|Reel): .*"
    r"|To verify this mail, save it and run:|which must name the key .*|To verify the tag, .*"
    r"|To verify that the catalogue is this one:|where latest\.asc is .*"
)

HOSTILE = [
    b"Subject\nBcc: victim@example.org\n",
    b"Subject\r\nBcc: victim@example.org\r\n\r\nbody\r\n",
    b"a\rBcc: victim@example.org\n",
    b"=?utf-8?q?a=0ABcc=3A_victim=40example=2Eorg?=\n",
    b"=?utf-8?b?YQpCY2M6IHZpY3RpbUBleGFtcGxlLm9yZw==?= =?utf-8?q?=0a?=\n",
    b"a\0b\0\n\0\n",
    b"\xff\xfe\x80\n\xc3\n",
    b"a\x0bBcc: x\x0cBcc: y\x1cBcc: z\xc2\x85Bcc: w\xe2\x80\xa8Bcc: v\xe2\x80\xa9Bcc: u\n",
    "\N{RIGHT-TO-LEFT OVERRIDE}gro.elpmaxe\N{ZERO WIDTH SPACE}\x1b[2J\x07\n".encode(),
    b"a\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n\nother\n" + END + b"rest\n",
    b"a\n" + END,
    b"a\n" + END + END,
    b"a\n\nCatalogue: version 999\nSigned-By: me\n\n-- \nFrom me\n.\n",
    b"x" * (1 << 20) + b"\n",
    b"a\n" + b"y\n" * (1 << 19),
    "\N{GREEK SMALL LETTER ALPHA}".encode() * 100_000,
    b"",
    b"\n\n\n   \n\t\n",
    b"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/html\n\n<b>\n--x--\n",
    b"a  \t\nb \n",
]
TAGGERS = [
    WHO,
    b"=?utf-8?q?a=0ABcc=3A_b=40c?= <a@b> 1 +0000",
    b'"quoted, \\" name" (comment): <a@b> 1 +0000',
    "J\N{LATIN SMALL LETTER O WITH DIAERESIS}rg, evil@example.org, more and more and more <j@b.org> 1 +0000".encode(),
    b"A <a@b>, Bcc: <c@d> 1 +0000",
    b"A <a@b\r\nBcc: c@d> 1 +0000",
    b"A <not an address> 1 +0000",
    b"A <a@[127.0.0.1]> 1 +0000",
    b"A <-Cx@b> 1 +0000",
    b"A\0B\x1b[2J <a@b> 1 +0000",
    b"\xff\xff <\xff@b> 1 +0000",
    b" <a@b> 1 +0000",
    b"A <a@b> 99999999999 +9999",
    b"A <a@b> 99999999999999999999 +0000",
    b"A <a@b> -1 +0000",
    b"A" * 100_000 + b" <a@b> 1 +0000",
    b"nobody",
    b"",
]
NAMES = [
    b"refs/tags/v1",
    b"refs/tags/a\xff\xfe",
    "refs/tags/\N{RIGHT-TO-LEFT OVERRIDE}v1".encode(),
    b"refs/tags/=?utf-8?q?=0aBcc=3a?=",
    b"refs/tags/" + b"n" * 4000,
    b"refs/tags/a\x7fb",
    b"refs/tags/-----BEGIN-PGP-SIGNED-MESSAGE-----",
]


def tag(message: bytes = b"First\n\nrest\n", who: bytes = WHO) -> bytes:
    return b"object %s\ntype commit\ntag v1\ntagger %s\n\n%s" % (b"a" * 40, who, message)


def publisher(name: str = "demo") -> Publisher:
    return Publisher(name, Fingerprint("A" * 40), ("gtfs:" + "b" * 64 + "/demo",))


def made(raw: bytes, release: Release = RELEASE, name: str = "demo") -> tuple[str, bytes]:
    """The text and the mail, signed as far as this ring can."""
    said, who = read_tag(raw), publisher(name)
    text = compose(release, said, who)
    return text, make_mail(release, said, who, BEGIN + text.encode() + END, "all@example.org").data


CASES = [
    *((message, WHO, RELEASE.refs[0]) for message in HOSTILE),
    *((b"First\n", who, RELEASE.refs[0]) for who in TAGGERS),
    *((b"First\n", WHO, name) for name in NAMES),
    *itertools.islice(itertools.product(HOSTILE[:12], TAGGERS[:8], NAMES[:4]), 0, None, 7),
]


@pytest.mark.parametrize(("message", "who", "name"), CASES)
def test_nothing_that_a_tag_says_becomes_a_header(message: bytes, who: bytes, name: bytes) -> None:
    release = Release(OID, (name, b"refs/tags/other"), OID, 7, "d" * 64, DATE_S, ((name, OID),), 1)
    text, data = made(tag(message, who), release)
    head, _, body = data.partition(b"\n\n")
    assert head.isascii() and b"\r" not in data and b"\0" not in data
    names = [line.partition(b":")[0].decode() for line in head.split(b"\n") if not line.startswith(b" ")]
    assert sorted(names) == HEADERS
    assert body == BEGIN + text.encode() + END  # byte for byte: so it verifies
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert sorted(found.keys()) == HEADERS and not found.is_multipart()
    assert str(found["To"]) == "all@example.org" and len(found["From"].addresses) == 1
    assert found["From"].addresses[0].addr_spec in ADDRESSES
    assert found["Message-ID"] == message_id("demo", OID)
    assert str(found["Subject"]).isprintable() and str(found["From"]).isprintable()
    assert all(len(line) < 998 for line in data.split(b"\n"))
    assert len(data) < 300_000


@pytest.mark.parametrize(("message", "who", "name"), CASES)
def test_nothing_that_a_tag_says_stands_where_the_publishers_own_lines_do(
    message: bytes, who: bytes, name: bytes
) -> None:
    text, _ = made(tag(message, who), Release(OID, (name,), None, 7, "d" * 64, DATE_S))
    lines = text.split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() and line == line.rstrip() for line in lines)
    own = [line for line in lines if line and not line.startswith("    ")]
    assert all(ORDINARY.fullmatch(line) for line in own)
    fields = [line.partition(":")[0] for line in own if re.match(r"[A-Z][A-Za-z-]+: ", line)]
    assert fields == [
        "Subject", "Message-ID", "Repository", "Tag", "Names", "Tagger", "Tagged", "Catalogue", "Signed-By", "Source",
    ]  # fmt: skip
    assert "Catalogue: version 7, SHA-256 of its text " + "d" * 64 in own


def test_a_name_of_a_repository_that_is_no_plain_word_is_no_header_either() -> None:
    name = "=?utf-8?q?=0aBcc=3a_x?= " + "r" * 500
    _, data = made(tag(), name=name)
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert sorted(found.keys()) == HEADERS


def test_a_message_that_is_too_long_is_cut_and_says_so() -> None:
    text, _ = made(tag(b"z" * 100 + b"\n" + b"y\n" * 100_000))
    assert re.search(r"\(\d+ more bytes of it are in the tag\)", text)
    assert "too large to be shown" in compose(RELEASE, read_tag(None), publisher())


def test_a_tags_signature_is_no_part_of_its_message() -> None:
    text, _ = made(tag(b"First\n\nrest\n" + END))
    assert "    rest" in text and "BEGIN PGP" not in text


def test_an_old_tag_without_a_tagger_is_nobodys_and_of_the_day_it_was_published() -> None:
    raw = b"object %s\ntype commit\ntag v1\n\nOld\n" % (b"a" * 40)
    text, data = made(raw)
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert str(found["From"]) == "unknown <unknown@gtfs.invalid>"
    assert int(found["Date"].datetime.timestamp()) == DATE_S
    assert "Tagger: unknown <no mail address>\nTagged: unknown\n" in text


def test_date_and_zone_are_the_tags() -> None:
    mail = make_mail(RELEASE, read_tag(tag()), publisher(), BEGIN + END, None)
    found = email.message_from_bytes(mail.data, policy=email.policy.default)
    assert found["Date"].datetime.utcoffset() == timedelta(hours=2) and found["To"] is None
    assert mail.author.line() == WHO.decode()


def test_what_is_no_ascii_comes_through() -> None:
    raw = tag("Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e \N{PARTY POPPER}\n".encode())
    said = read_tag(raw)
    _, data = made(raw)
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert found["Subject"] == subject(RELEASE, said, publisher())
    assert found["Subject"].endswith("e \N{PARTY POPPER}")
    assert "\N{PARTY POPPER}".encode() in data.partition(b"\n\n")[2]


def test_the_message_id_follows_from_the_repository_and_the_tag_alone() -> None:
    other = ObjectId(bytes(20))
    ids = {message_id("demo", OID), message_id("demo2", OID), message_id("demo", other)}
    assert len(ids) == 3 and message_id("demo", OID) == message_id("demo", OID)


def test_of_many_refs_and_reels_some_are_named_and_the_rest_counted() -> None:
    refs = tuple((b"refs/heads/%d" % n, OID) for n in range(20))
    reels = tuple(("f" * 64, "e" * 40, n) for n in range(20))
    release = Release(OID, (b"refs/tags/v1",), None, 7, "d" * 64, DATE_S, refs, 4000, reels, 33)
    text, _ = made(tag(), release)
    assert text.count("\nMoved: ") == text.count("\nReel: ") == 21
    assert "Moved: and 3980 more refs" in text and "Reel: and 13 more" in text


@pytest.mark.parametrize("text", ["a@b", "announce@lists.example.org", "a.b+c@d-e.org"])
def test_a_plain_address_is_one(text: str) -> None:
    assert check_address(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a@",
        "@b",
        "a@b,c@d",
        "a@b\nBcc: c@d",
        "A <a@b>",
        "-oQ/tmp@b",
        "a b@c",
        "a@b ",
        "|sh@b",
        "a" * 300 + "@b",
    ],
)
def test_what_is_more_or_less_than_one_plain_address_is_refused(text: str) -> None:
    with pytest.raises(BadMailAddress):
        check_address(text)
