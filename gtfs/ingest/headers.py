# SPDX-License-Identifier: GPL-3.0-or-later
"""The header lines of commits and tags, looked at as git's fsck.c does (design.md §8.3, facts.md "git as validator").

What is found is judged by `gtfs.ingest.faults`. Knows no signatures, except that one which begins must also end. Any
thread.
"""

from __future__ import annotations

import re
from typing import Final

from gtfs.ids import ObjectFormat
from gtfs.ingest.names import shown
from gtfs.pack.format import CorruptPack
from gtfs.pack.objects import read_commit_names, read_tag_target

_IDENT: Final = rb"[^<>\n\0]* <[^<>\n\0]*> [ \t]*(?:0|[1-9][0-9]{0,17}) [+-][0-9]{4}\n"
_HEX: Final = rb"[0-9a-fA-F]{%d}"

_COMMIT: Final = {
    n: re.compile(
        rb"tree H\n(?:parent H\n)*+author (?!<)I(?!author )committer (?!<)I".replace(b"H", _HEX % (2 * n)).replace(
            b"I", _IDENT
        )
    )
    for n in (20, 32)
}
_IDENT_LINE: Final = re.compile(rb"(?!<)" + _IDENT)
_LINE: Final = re.compile(rb"[^\n]*\n")  # splitlines would also end one at a CR
_SIGNATURE: Final = re.compile(rb"^gpgsig(?:-sha256)? ([^\n]*+(?:\n [^\n]*+)*+)", re.MULTILINE)
_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")

# What `git check-ref-format refs/tags/NAME` refuses.
_BAD_TAG_NAME: Final = re.compile(rb"\A\Z|(?:\A|/)\.|\.\.|[\x00-\x20\x7f~^:?*\[\\]|@\{|//|\A/|/\Z|\.\Z|\.lock(?:/|\Z)")
_MAX_TIME: Final = (1 << 63) - 1


def find_in_commit(raw: bytes, fmt: ObjectFormat) -> list[str]:
    """The faults of a commit, each as "name: text"; raises `CorruptPack` where its tree and parents cannot be read."""
    m = _COMMIT[fmt.oid_bytes].match(raw)
    found: list[str] = []
    head = b""
    if m is not None and raw[m.end() : m.end() + 1] in (b"\n", b""):
        pass  # the common commit: nothing after its committer but the message
    else:
        head = _header(raw, found)
        if m is None:
            read_commit_names(raw, fmt)
            lines = _LINE.findall(head)
            at = next((i for i, line in enumerate(lines) if i and not line.startswith(b"parent ")), len(lines))
            authors = 0
            while at < len(lines) and lines[at].startswith(b"author "):
                _find_in_person(lines[at], found)
                authors += 1
                at += 1
            if authors == 0:
                found.append("missingAuthor: no author line where it has to be")
            elif authors > 1:
                found.append("multipleAuthors: more than one author line")
            if at < len(lines) and lines[at].startswith(b"committer "):
                _find_in_person(lines[at], found)
            else:
                found.append("missingCommitter: no committer line where it has to be")
        _find_in_signatures(head, found)
    if b"\0" in raw and b"\0" not in head:
        found.append("nulInCommit: NUL in the message")
    return found


def find_in_tag(raw: bytes, fmt: ObjectFormat) -> list[str]:
    """The faults of a tag, each as "name: text"; raises `CorruptPack` where its first three lines cannot be read."""
    found: list[str] = []
    read_tag_target(raw, fmt)
    lines = _LINE.findall(_header(raw, found))
    if len(lines) < 3 or not lines[2].startswith(b"tag "):
        raise CorruptPack("missingTagEntry: no tag line after the type")
    if raw.count(b"\n", 0, len(lines[0]) + len(lines[1]) + len(lines[2])) < 3:
        raise CorruptPack("missingTag: the tag's name does not end")
    name = lines[2][4:-1]
    if _BAD_TAG_NAME.search(name):
        found.append(f"badTagName: a tag named {shown(name)}")
    if len(lines) > 3 and lines[3].startswith(b"tagger "):
        _find_in_person(lines[3], found)
    else:
        found.append("missingTaggerEntry: no tagger line")
    return found


def _header(raw: bytes, found: list[str]) -> bytes:
    """The lines before the empty one, each with its LF, added where the last one lacks it."""
    end = raw.find(b"\n\n")
    head = raw if end < 0 else raw[: end + 1]
    if b"\0" in head:
        found.append("nulInHeader: NUL in the header")
    if not head.endswith(b"\n"):
        found.append("unterminatedHeader: the last header line does not end")
        head += b"\n"
    return head


def _find_in_person(line: bytes, found: list[str]) -> None:
    """Whether a line names a person and a time behind its first word."""
    person = line.partition(b" ")[2]
    fault = None if _IDENT_LINE.fullmatch(person) else _ident_fault(person)
    if fault:
        found.append(f"{fault}: {shown(line.rstrip())}")


def _ident_fault(person: bytes) -> str | None:
    """git's name for what is wrong in ``NAME <EMAIL> TIME ZONE``, asked in the order of its fsck_ident."""
    stop = re.search(rb"[<>\n]", person)
    assert stop is not None  # a header line ends in LF
    if stop.start() == 0 and stop[0] == b"<":
        return "missingNameBeforeEmail"
    if stop[0] != b"<":
        return "badName" if stop[0] == b">" else "missingEmail"
    if person[stop.start() - 1 : stop.start()] != b" ":
        return "missingSpaceBeforeEmail"
    email = re.compile(rb"[^<>\n]*(.)", re.DOTALL).match(person, stop.end())
    if email is None or email[1] != b">":
        return "badEmail"
    date = person[email.end() :]
    if not date.startswith(b" "):
        return "missingSpaceBeforeDate"
    number = re.match(rb" [ \t]*(-?[0-9]+) ", date)
    if number is None:
        return "badDate"
    if re.match(rb" 0[0-9]", date):
        return "zeroPaddedDate"
    if not 0 <= int(number[1][:20]) <= _MAX_TIME:
        return "badDateOverflow"
    return None if re.fullmatch(rb"[+-][0-9]{4}\n", date[number.end() :]) else "badTimezone"


def _find_in_signatures(head: bytes, found: list[str]) -> None:
    # All values together: git.git has a commit whose signature is a gpgsig header for each of its lines.
    text = b"\n".join(_SIGNATURE.findall(head))
    begin = _BEGIN.search(text)
    if begin and text.find(b"-----END " + begin[1] + b"-----", begin.end()) < 0:
        found.append("signatureWithoutEnd: a signature that begins and does not end")
