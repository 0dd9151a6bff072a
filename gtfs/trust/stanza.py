# SPDX-License-Identifier: GPL-3.0-or-later
"""A signed text as one strict deb822 stanza (deb822(5)): fields once each, no comments, no empty lines.

What it refuses is what different readers would read differently. Pure functions, any thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from debian.deb822 import Deb822

from gtfs.errors import Blame, GtfsError

FIELDS: Final = 200
LINES: Final = 400_000  # more than there are refs in 16 MiB

_FIELD_LINE = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,63}):(?: ([!-~]+(?: [!-~]+)*))?\Z")
_MORE_LINE = re.compile(r" [!-~]+(?: [!-~]+)*\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
_TIME_FORM: Final = "%Y-%m-%dT%H:%M:%SZ"


class BadStanza(GtfsError):
    """A text that is not one plain stanza of printable ASCII, or that lacks a field."""

    fault = Blame.DATA

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_stanza(text: bytes) -> dict[str, list[str]]:
    """The lines of each field's value, by its name in lower case; a value on the field's own line comes first.

    Raises `BadStanza`.
    """
    if not text.endswith(b"\n"):
        raise BadStanza("the text does not end with a newline")
    if text.count(b"\n") > LINES:
        raise BadStanza(f"over the limit lines: more than {LINES}")
    lines = text.decode("ascii", "replace").split("\n")[:-1]
    names: set[str] = set()
    for number, line in enumerate(lines, 1):
        if _MORE_LINE.match(line) and names:
            continue
        match = _FIELD_LINE.match(line)
        if match is None:
            raise BadStanza(f"line {number} is neither a field nor its continuation")
        if match[1].lower() in names:
            raise BadStanza(f"the field {match[1]} comes twice")
        names.add(match[1].lower())
        if len(names) > FIELDS:
            raise BadStanza(f"over the limit fields: more than {FIELDS}")
    values: dict[str, list[str]] = {}
    for name, value in Deb822(lines).items():
        first, *more = str(value).split("\n")
        values[str(name).lower()] = ([first] if first else []) + [line[1:] for line in more]
    return values


def write_stanza(fields: Iterable[tuple[str, str | list[str]]]) -> str:
    """The text of a stanza: a str stays on the field's line, a list takes one line each. Raises `BadStanza`."""
    out = []
    for name, value in fields:
        out.append(f"{name}: {value}" if isinstance(value, str) else f"{name}:")
        out += [] if isinstance(value, str) else [f" {line}" for line in value]
    text = "\n".join(out) + "\n"
    if not text.isascii():
        raise BadStanza("only ASCII can be written")
    read_stanza(text.encode("ascii"))  # what is written can be read
    return text


def one_line(values: dict[str, list[str]], name: str) -> str:
    """The value of a field that must be there with one line; raises `BadStanza`."""
    lines = values.get(name.lower())
    if lines is None:
        raise BadStanza(f"the field {name} is missing")
    if len(lines) != 1:
        raise BadStanza(f"the field {name} must have one line")
    return lines[0]


def write_time(time_s: int) -> str:
    """Unix seconds as ``2026-11-22T14:39:26Z``."""
    # Not strftime, which writes the year 1 with one digit.
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read_time(text: str) -> int:
    """Unix seconds; raises `BadStanza`."""
    try:
        if _TIME.match(text):
            return int(datetime.strptime(text, _TIME_FORM).replace(tzinfo=UTC).timestamp())
    except ValueError:
        pass
    raise BadStanza(f"{text[:40]!r} is no time of the form 2026-11-22T14:39:26Z")
