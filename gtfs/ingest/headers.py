# SPDX-License-Identifier: GPL-3.0-or-later
"""The header lines of commits and tags, judged as git's fsck.c does (design.md §8.3, facts.md "git as validator").

Knows no signatures, except that one which begins must also end. Any thread.
"""

from __future__ import annotations

import re
from typing import Final

from gtfs.ids import ObjectFormat
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
_SIGNATURE: Final = re.compile(rb"^gpgsig(?:-sha256)? ([^\n]*+(?:\n [^\n]*+)*+)", re.MULTILINE)
_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")

# What `git check-ref-format refs/tags/NAME` refuses.
_BAD_TAG_NAME: Final = re.compile(rb"\A\Z|(?:\A|/)\.|\.\.|[\x00-\x20\x7f~^:?*\[\\]|@\{|//|\A/|/\Z|\.\Z|\.lock(?:/|\Z)")
_WARNED_IDENT: Final = frozenset(("badTimezone", "missingSpaceBeforeDate"))  # real history has these
_MAX_TIME: Final = (1 << 63) - 1


class BadHeader(ValueError):
    """A header line that no commit or tag may have; the text is the reason, git's name for it first."""


def check_commit(raw: bytes, fmt: ObjectFormat) -> list[str]:
    """Warnings about a commit; raises `BadHeader`, and `CorruptPack` for tree and parent lines."""
    m = _COMMIT[fmt.oid_bytes].match(raw)
    warnings: list[str] = []
    if m is not None and raw[m.end() : m.end() + 1] in (b"\n", b""):
        pass  # the common commit: nothing after its committer but the message
    else:
        head = _header(raw)
        if m is None:
            read_commit_names(raw, fmt)
            lines = head.splitlines(True)
            after = next((i for i, line in enumerate(lines) if i and not line.startswith(b"parent ")), len(lines))
            after = _check_ident(lines, after, b"author ", "missingAuthor", warnings)
            if after < len(lines) and lines[after].startswith(b"author "):
                raise BadHeader("multipleAuthors: more than one author line")
            _check_ident(lines, after, b"committer ", "missingCommitter", warnings)
        _check_signatures(head)
    if b"\0" in raw:
        warnings.append("nulInCommit: NUL in the message")
    return warnings


def check_tag(raw: bytes, fmt: ObjectFormat) -> list[str]:
    """Warnings about a tag; raises `BadHeader`, and `CorruptPack` for its object and type lines."""
    warnings: list[str] = []
    lines = _header(raw).splitlines(True)
    read_tag_target(raw, fmt)
    if len(lines) < 3 or not lines[2].startswith(b"tag "):
        raise BadHeader("missingTagEntry: no tag line after the type")
    name = lines[2][4:-1]
    if _BAD_TAG_NAME.search(name):
        raise BadHeader(f"badTagName: a tag named {name!r}")
    if len(lines) > 3 and lines[3].startswith(b"tagger "):
        _check_ident(lines, 3, b"tagger ", "missingTaggerEntry", warnings)
    else:
        warnings.append("missingTaggerEntry: no tagger line")
    return warnings


def _header(raw: bytes) -> bytes:
    """The lines before the empty one, each with its LF."""
    end = raw.find(b"\n\n")
    head = raw if end < 0 else raw[: end + 1]
    if b"\0" in head:
        raise BadHeader("nulInHeader: NUL in the header")
    if not head.endswith(b"\n"):
        raise BadHeader("unterminatedHeader: the last header line does not end")
    return head


def _check_ident(lines: list[bytes], at: int, word: bytes, missing: str, warnings: list[str]) -> int:
    """The number of the line after the one that has to start with ``word`` and name a person and a time."""
    if at >= len(lines) or not lines[at].startswith(word):
        raise BadHeader(f"{missing}: no {word.decode().strip()} line where it has to be")
    person = lines[at][len(word) :]
    fault = None if _IDENT_LINE.fullmatch(person) else _ident_fault(person)
    if fault in _WARNED_IDENT:
        warnings.append(f"{fault}: {word.decode()}{person[:-1]!r}")
    elif fault:
        raise BadHeader(f"{fault}: {word.decode()}{person[:-1]!r}")
    return at + 1


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


def _check_signatures(head: bytes) -> None:
    # All values together: git.git has a commit whose signature is a gpgsig header for each of its lines.
    text = b"\n".join(_SIGNATURE.findall(head))
    begin = _BEGIN.search(text)
    if begin and text.find(b"-----END " + begin[1] + b"-----", begin.end()) < 0:
        raise BadHeader("a signature that begins and does not end")
