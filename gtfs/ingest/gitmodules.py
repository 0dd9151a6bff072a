# SPDX-License-Identifier: GPL-3.0-or-later
"""What a `.gitmodules` file may say: git's own checks of submodule names, URLs, paths and update commands, and control
characters in any of them (facts.md, "git as validator").

Reads git's configuration syntax as far as these rules need it; includes are not followed. Any thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from gtfs.ingest.names import shown

MAX_BYTES: Final = 1 << 20  # of a .gitmodules file; the largest known are a hundredth of it

_SECTION: Final = re.compile(rb'\[([A-Za-z0-9.-]*)(?:[ \t\r]+"((?:[^"\\\n]|\\[^\n])*+)")?\]')
_KEY: Final = re.compile(rb"([A-Za-z][A-Za-z0-9-]*)[ \t]*")
_BLANK: Final = re.compile(rb"(?:\s|[#;][^\n]*+)*+")
_ESCAPES: Final = {ord("t"): b"\t", ord("b"): b"\b", ord("n"): b"\n", ord("\\"): b"\\", ord('"'): b'"'}
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
_LEADS_UP: Final = re.compile(rb"(?:\A|[/\\])\.\.(?:\Z|[/\\])")
_RELATIVE: Final = (b"./", b"../", b".\\", b"..\\")
_UPWARDS: Final = re.compile(rb"(?:\.{1,2}[/\\])*+")
_WEB: Final = re.compile(rb"(?:https?|ftps?)::(.*)|((?:https?|ftps?)://.*)", re.DOTALL)  # URLs that curl is given
_HOST: Final = re.compile(rb"(?:[^/?#@]*+@)?+[^/?#]")  # where a URL's begins, behind the user


class Unreadable(ValueError):
    """Not the syntax of a git configuration file."""


@lru_cache(maxsize=64)  # the same file stands in commit after commit
def find_faults(data: bytes) -> tuple[str, ...]:
    """The faults of a `.gitmodules`, each as "name: text" and once of a kind."""
    if len(data) > MAX_BYTES:
        return (f"gitmodulesLarge: over {MAX_BYTES} bytes",)
    found: dict[str, str] = {}
    try:
        for of_name, key, value in _submodule_values(data):
            for fault in (*of_name, *_faults_of(key, value)):
                found.setdefault(fault.partition(":")[0], fault)
    except Unreadable:
        found["gitmodulesParse"] = "gitmodulesParse: not the syntax of a configuration file"
    return tuple(found.values())


def _faults_of_name(name: bytes) -> tuple[str, ...]:
    is_bad = not name or _LEADS_UP.search(name) or _CONTROL.search(name)
    return (f"gitmodulesName: a submodule named {shown(name)}",) if is_bad else ()


def _faults_of(key: bytes, value: bytes) -> Iterator[str]:
    if key == b"url" and _is_bad_url(value):
        yield f"gitmodulesUrl: a submodule at {shown(value)}"
    elif key == b"path" and (value.startswith(b"-") or _CONTROL.search(value)):
        yield f"gitmodulesPath: a submodule in {shown(value)}"
    elif key == b"update" and value.startswith(b"!"):
        yield f"gitmodulesUpdate: a submodule updated by {shown(value)}"


def _is_bad_url(url: bytes) -> bool:
    """As check_submodule_url of git's fsck.c has it, and without any control character."""
    if url.startswith(b"-") or _CONTROL.search(url):
        return True
    if url.startswith((b"git://", *_RELATIVE)):
        plain = unquote_to_bytes(url)
        up = _UPWARDS.match(url)
        leaves_root = up is not None and b".." in up[0] and url[up.end() : up.end() + 1] in (b":", b"/")
        return b"\n" in plain or b"\r" in plain or leaves_root
    web = _WEB.match(url)
    if web is None:
        return False
    curl_url = web[1] if web[1] is not None else web[2]
    host = _HOST.match(curl_url.partition(b"://")[2])
    return host is None or b"\n" in unquote_to_bytes(curl_url)


def _submodule_values(data: bytes) -> Iterator[tuple[tuple[str, ...], bytes, bytes]]:
    """(faults of the submodule's name, key in lower case, value) in the file's order; raises `Unreadable`.

    A name is judged once: it may be half of the file, and the other half keys.
    """
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    section: tuple[str, ...] | None = None  # its name's faults, in a section [submodule "name"]
    pos = 0
    while True:
        blank = _BLANK.match(data, pos)
        pos = blank.end() if blank else pos
        if pos == len(data):
            return
        if data[pos] == ord("["):
            head = _SECTION.match(data, pos)
            if head is None:
                raise Unreadable
            full = head[1].lower()
            if head[2] is not None:
                full += b"." + re.sub(rb"\\(.)", rb"\1", head[2])
            kind, dot, name = full.partition(b".")  # [a.b "c"] is a section a with the name b.c
            section = _faults_of_name(name) if kind == b"submodule" and dot else None
            pos = head.end()
            continue
        word = _KEY.match(data, pos)
        if word is None:
            raise Unreadable
        pos = word.end()
        value = b""
        if data[pos : pos + 1] == b"=":
            value, pos = _read_value(data, pos + 1)
        elif data[pos : pos + 1] not in (b"", b"\n", b"#", b";"):
            raise Unreadable
        if section is not None:
            yield section, word[1].lower(), value


def _read_value(data: bytes, pos: int) -> tuple[bytes, int]:
    """A value without its quotes, escapes and outer blanks, and where its line ends (git's config.c, parse_value)."""
    out = bytearray()
    solid = 0  # blanks behind this length are outer ones
    quoted = False
    while pos < len(data):
        c = data[pos]
        pos += 1
        if c == ord("\n"):
            if quoted:
                raise Unreadable
            break
        if not quoted and c in b"#;":
            end = data.find(b"\n", pos)
            pos = len(data) if end < 0 else end
        elif not quoted and c in b" \t\v\f\r":
            if out:
                out.append(c)
        elif c == ord('"'):
            quoted = not quoted
            solid = len(out)
        elif c == ord("\\"):
            following = data[pos : pos + 1]
            pos += 1
            if following == b"\n":
                continue
            if not following or following[0] not in _ESCAPES:
                raise Unreadable
            out += _ESCAPES[following[0]]
            solid = len(out)
        else:
            out.append(c)
            solid = len(out)
    if quoted:
        raise Unreadable
    return bytes(out[:solid]), pos
