# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for one component of a path (design.md §8.3): what no tree may name, on any file system that it may meet.

Follows git's fsck for HFS+ and NTFS (utf8.c, path.c), and adds what facts.md found missing there. Where trees are
checked is `gtfs.ingest.checkobjects`. Any thread; no state but a memo of pure functions.
"""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

# Code points that HFS+ leaves out when it compares names (git's utf8.c, next_hfs_char), as UTF-8.
_HFS_IGNORED: Final = re.compile(rb"\xe2\x80[\x8c-\x8f\xaa-\xae]|\xe2\x81[\xaa-\xaf]|\xef\xbb\xbf")

# What git's reader of UTF-8 takes (utf8.c, pick_one_utf8_char); U+FFFE and U+FFFF it does not.
_UTF8: Final = re.compile(
    rb"(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xef[\x80-\xbe][\x80-\xbf]|\xef\xbf[\x80-\xbd]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*+"
)

# Only names with one of these can break a rule other than their length: the rest needs no closer look.
_REMARKABLE: Final = re.compile(
    rb"(?:\A|\0)\.|[/\\~\x01-\x1f\x7f]|\xe2\x80[\x8c-\x8f\xaa-\xae]|\xe2\x81[\xaa-\xaf]|\xef\xbb\xbf"
)
# No byte that such a name has besides a first dot: deleting all others is quicker than a search for these.
_UNREMARKABLE: Final = bytes(b for b in range(256) if b not in b"/\\~\x7f\xe2\xef" and not 0 < b < 0x20)
_SHOWN: Final = 120  # bytes
_ANNEX: Final = re.compile(rb"(?:\.\./)*+\.git/annex/objects/([^\0\\]+)\Z", re.DOTALL)
_CONTROL: Final = re.compile(rb"[\x01-\x1f\x7f]")

# A component that is `.git` or its NTFS short name, then dots and spaces that NTFS drops, then the end or a stream.
_DOTGIT: Final = re.compile(rb"(?:\A|[/\\])(?:\.git|git~1)[. ]*+(?:\Z|[:/\\])", re.IGNORECASE)
_DOTDOT: Final = re.compile(rb"(?:\A|\\)\.\.(?:\Z|\\)")

NAME_BYTES: Final = 64 << 10  # of a component, whatever the limits: no file system has a longer one than 1 KiB
_MEMO_BYTES: Final = 4096  # of a name whose look is remembered


def _ntfs_names(name: bytes, short: bytes) -> re.Pattern[bytes]:
    """What NTFS takes for ``.name``: itself, NAME~1 to NAME~4, and the hashed short name that starts with ``short``;
    where a backslash separates, of any component."""
    hashed = b"|".join(re.escape(short[:kept]) + rb"~[1-9][0-9]{%d}" % (6 - kept) for kept in range(len(short) + 1))
    forms = (rb"\." + name, re.escape(name[:6]) + rb"~[1-4]", hashed)
    return re.compile(rb"(?:\A|\\)(?:" + b"|".join(forms) + rb")[. ]*+(?:\Z|[:\\])", re.IGNORECASE)


GITMODULES: Final = "gitmodules"
GITATTRIBUTES: Final = "gitattributes"
GITIGNORE: Final = "gitignore"
MAILMAP: Final = "mailmap"

_DOTTED: Final = {b"." + which.encode(): which for which in (GITMODULES, GITATTRIBUTES, GITIGNORE, MAILMAP)}
# The short names are those of git's path.c.
_SPECIAL: Final = {
    GITMODULES: _ntfs_names(b"gitmodules", b"gi7eba"),
    GITATTRIBUTES: _ntfs_names(b"gitattributes", b"gi7d29"),
    GITIGNORE: _ntfs_names(b"gitignore", b"gi250a"),
    MAILMAP: _ntfs_names(b"mailmap", b"maba30"),
}


def shown(name: bytes) -> str:
    """A name in a message: quoted, as it may hold anything, and not longer than a line."""
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}..."


def any_remarkable(joined: bytes) -> bool:
    """Whether `look_at` may find something in one of these names, joined by NUL."""
    if joined.startswith(b".") or joined.find(b"\0.") >= 0:
        return True
    return bool(joined.translate(None, _UNREMARKABLE)) and _REMARKABLE.search(joined) is not None


def _bare(name: bytes) -> bytes:
    """A name without what HFS+ leaves out."""
    return _HFS_IGNORED.sub(b"", name)


def _cut_off(name: bytes) -> bytes:
    """What is bare and in lower case before the first byte that is no UTF-8, where git takes a name for HFS+ to end."""
    found = _UTF8.match(name)
    assert found is not None  # it may be empty
    return _bare(found[0]).lower() if found.end() < len(name) else b""


class Look(NamedTuple):
    """What is remarkable about a name."""

    fault: str | None  # as "name: text", see `gtfs.ingest.faults`
    special: str | None  # GITMODULES, GITATTRIBUTES, GITIGNORE or MAILMAP if some file system takes it for that file
    control: bool  # has ASCII control characters: real history has them in files, and never in submodules


def look_at(name: bytes) -> Look | None:
    """What is remarkable about a name of at most `NAME_BYTES`, or None."""
    return _remembered(name) if len(name) <= _MEMO_BYTES else _look(name)


def _look(name: bytes) -> Look | None:
    # Searches alone, and no list of components: there may be one for each byte.
    bare, cut_off = _bare(name), _cut_off(name)
    look = Look(_find_fault(name, bare, cut_off), _special_file(bare, cut_off), _CONTROL.search(name) is not None)
    return look if any(look) else None


_remembered = lru_cache(maxsize=32768)(_look)


def _find_fault(name: bytes, bare: bytes, cut_off: bytes) -> str | None:
    if b"/" in name:
        return "fullPathname: a name with a slash"
    if name == b".":
        return "hasDot: an entry named '.'"
    if name == b"..":
        return "hasDotdot: an entry named '..'"
    if _DOTGIT.search(bare) or cut_off == b".git":
        return f"hasDotgit: {shown(name)} is .git to some file system"
    if _DOTDOT.search(name):
        return f"backslashDotdot: {shown(name)} leaves its directory where a backslash separates"
    return None


def _special_file(bare: bytes, cut_off: bytes) -> str | None:
    if cut_off in _DOTTED:
        return _DOTTED[cut_off]
    found = [(m.start(), which) for which, pattern in _SPECIAL.items() if (m := pattern.search(bare))]
    return min(found, key=itemgetter(0))[1] if found else None


def link_fault(target: bytes) -> str | None:
    """The fault of a symbolic link whose target passes through a `.git`, as "name: text", or None."""
    if not _DOTGIT.search(_bare(target)):
        return None
    # git-annex writes each file as such a link; what it leads to is never what somebody else may write.
    rest = _ANNEX.match(posixpath.normpath(target))
    if rest and not _DOTGIT.search(_bare(rest[1])):
        return f"annexLink: a link into .git/annex/objects: {shown(target)}"
    return f"linkIntoDotgit: a symbolic link into a .git: {shown(target)}"
