# SPDX-License-Identifier: GPL-3.0-or-later
"""git-config(1)'s syntax, read without a process and with the line of each value, which git does not tell. Pure.

`tests/compat/test_daemon_settings.py` compares with git. It is for files of gtfs's own, which include nothing: what
git's own settings are, git is asked. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SPACE: Final = " \t\n\v\f\r"
_ESCAPES: Final = {"t": "\t", "b": "\b", "n": "\n", "\\": "\\", '"': '"'}
_END: Final = ""


@dataclass(frozen=True)
class Setting:
    """One value; ``name`` is that of ``[section "name"]``, ``value`` None for a key alone."""

    section: str
    name: str | None
    key: str
    value: str | None
    line: int


@dataclass(frozen=True)
class Heading:
    """A section begins, which may stay empty."""

    section: str
    name: str | None
    line: int


class BadSyntax(ValueError):
    """The line that cannot be read."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def _is_key_character(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "-")


class _Characters:
    def __init__(self, text: str) -> None:
        self._text = text.removeprefix("\ufeff").replace("\r\n", "\n")
        self._at = 0
        self.line = 1

    def next(self) -> str:
        """The next character, "" at the end."""
        if self._at == len(self._text):
            return _END
        char = self._text[self._at]
        self._at += 1
        self.line += char == "\n"
        return char

    def skip_line(self) -> None:
        while self.next() not in ("\n", _END):
            pass


def quoted(value: str) -> str:
    """A value, or the name of a section, as it is written so that `read_syntax` gives it back."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def read_syntax(text: str) -> Iterator[Heading | Setting]:
    """Headings and values in their order; raises `BadSyntax`."""
    source = _Characters(text)
    heading: Heading | None = None
    while char := source.next():
        if char in "#;":
            source.skip_line()
        elif char == "[":
            heading = _heading(source)
            yield heading
        elif char.isascii() and char.isalpha():
            if heading is None:
                raise BadSyntax(source.line, "a key stands before the first [section]")
            line = source.line
            key, value = _setting(source, char)
            yield Setting(heading.section, heading.name, key, value, line)
        elif char not in _SPACE:
            raise BadSyntax(source.line, f"{char!a} begins neither a [section], a key nor a comment")


def _heading(source: _Characters) -> Heading:
    line, section = source.line, ""
    while (char := source.next()) != "]":
        if char and char in " \t":
            return Heading(section, _name(source, line), line)
        if not (_is_key_character(char) or char == "."):
            raise BadSyntax(line, 'a section is written [word] or [word "name"]')
        section += char.lower()
    if not section:
        raise BadSyntax(line, "a section has a name")
    return Heading(section, None, line)


def _name(source: _Characters, line: int) -> str:
    wrong = BadSyntax(line, 'a section with a name is written [word "name"], on one line')
    while (char := source.next()) in (" ", "\t"):
        pass
    if char != '"':
        raise wrong
    name = ""
    while (char := source.next()) != '"':
        if char == "\\":
            char = source.next()
        if char in ("\n", _END):
            raise wrong
        name += char
    if source.next() != "]":
        raise wrong
    return name


def _setting(source: _Characters, first: str) -> tuple[str, str | None]:
    line, key = source.line, first.lower()
    while _is_key_character(char := source.next()):
        key += char.lower()
    while char in (" ", "\t"):
        char = source.next()
    if char in ("\n", _END):
        return key, None
    if char != "=":
        raise BadSyntax(line, f"what follows {key} is no = and a value")
    return key, _value(source, line)


def _value(source: _Characters, line: int) -> str:
    value, kept, is_quoted = "", 0, False  # ``kept``: how much of it is not space at its end
    while True:
        char = source.next()
        if char in ("\n", _END):
            if is_quoted:
                raise BadSyntax(line, "a quotation mark is not closed")
            return value[:kept]
        if not is_quoted and char in _SPACE:
            value += char if value else ""
            continue
        if not is_quoted and char in "#;":
            source.skip_line()
            return value[:kept]
        if char == '"':
            is_quoted = not is_quoted
        elif char == "\\":
            char = source.next()
            if char in ("\n", _END):
                continue
            if char not in _ESCAPES:
                raise BadSyntax(line, 'after a backslash only n, t, b, ", \\ or the end of the line may stand')
            value += _ESCAPES[char]
        else:
            value += char
        kept = len(value)
