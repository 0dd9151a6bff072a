# SPDX-License-Identifier: GPL-3.0-or-later
"""Text from outside, times and sizes, as an overview may show them anywhere. Pure; any thread."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_USER: Final = re.compile(r"(?<=://)[^/\s@]*@")
_WORD: Final = re.compile(r"\S+")
_SCHEME: Final = re.compile(r"\w://")
_WAY: Final = re.compile(r"(?:\bfile:/*|(?<![\w:/.…]))/(?:[^\s/]+/)+")  # of a path, but for its last name
_TEXT_MOST: Final = 500

_SPANS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def plain(text: str, most: int = _TEXT_MOST) -> str:
    """One line of text: what cannot be seen, controls a terminal or turns the direction of writing, as escapes."""
    shown = "".join(c if c.isprintable() else _escaped(c) for c in text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _escaped(c: str) -> str:
    return f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


def without_private(text: str) -> str:
    """Text without what URLs in it say about who asks (user, password, query), and where on this disk things are."""
    return _WAY.sub("…/", _WORD.sub(_without_query, _USER.sub("…@", text)))


def _without_query(found: re.Match[str]) -> str:
    """A word, each URL in it up to its query; the next begins behind a colon. One expression would take squares."""
    word, at = found[0], 0
    kept: list[str] = []
    while (scheme := _SCHEME.search(word, at)) is not None and (query := word.find("?", scheme.end())) >= 0:
        kept.append(f"{word[at:query]}?…")
        end = word.find(":", query)
        at = len(word) if end < 0 else end
    return "".join(kept) + word[at:]


def span_text(seconds: float) -> str:
    """How long, in the largest unit that it has one of: 3d, 12h, 5m, 7s."""
    for unit, one in _SPANS:
        if seconds >= one:
            return f"{int(seconds // one)}{unit}"
    return "0s"


def amount_text(count: float) -> str:
    """Bytes in at most five characters: 0, 512, 1.2K, 340M, 1.0G, in powers of 1024."""
    value = float(count)
    for unit in ("", "K", "M", "G"):
        if value < 1000:
            return f"{value:.0f}{unit}" if value >= 9.95 or not unit else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.0f}T" if value >= 9.95 else f"{value:.1f}T"


def bytes_text(count: float) -> str:
    """The same with its unit: 512 B, 1.2 KiB."""
    text = amount_text(count)
    return f"{text[:-1]} {text[-1]}iB" if text[-1].isalpha() else f"{text} B"


def time_text(seconds: int | None) -> str:
    """A time of day in UTC; "never" for None, and the number itself where no calendar has it."""
    if seconds is None:
        return "never"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def cut(text: str, width: int, *, keep_end: bool = False) -> str:
    """Text of at most so many characters."""
    if len(text) <= width:
        return text
    return "…" + text[len(text) - width + 1 :] if keep_end else text[: width - 1] + "…"
