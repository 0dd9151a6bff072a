# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a fetch is, on standard error as git shows it: one line that is written over. Any one thread at a time."""

from __future__ import annotations

import sys
import time
from typing import Any, Final, TextIO

from gtfs.cli.terminal import Rate, size_text

_EVERY_S: Final = 0.2


class FetchProgress:
    """Says nothing unless ``shown``; `close` ends the line."""

    def __init__(self, shown: bool, out: TextIO | None = None) -> None:
        self._shown = shown
        self._out = out or sys.stderr
        self._rate = Rate()
        self._width = 0
        self._said_s = 0.0
        self._last: dict[str, Any] = {}

    def tell(self, p: dict[str, Any]) -> None:
        """What `describe_progress` gives, with what the swarm says beside it."""
        self._last = p
        now_s = time.monotonic()
        if self._shown and now_s - self._said_s >= _EVERY_S:
            self._said_s = now_s
            self._write(self._line(), "\r")

    def close(self, word: str = "done") -> None:
        """The end of the line, if there was anything to tell."""
        if self._shown and self._last:
            self._write(f"{self._line()}, {word}.", "\n")
        self._last = {}

    def _line(self) -> str:
        p = self._last
        percent = 100 * p["packs"] // p["packs_of"] if p["packs_of"] else 100
        line = f"Receiving packs: {percent:3}% ({p['packs']}/{p['packs_of']}), "
        line += f"{size_text(p['bytes'])} of {size_text(p['bytes_of'])}"
        if "received" in p:
            line += f" | {size_text(int(self._rate(p['received'])))}/s, {p['peers']} peers"
        return line

    def _write(self, text: str, end: str) -> None:
        self._out.write(text.ljust(self._width) + end)
        self._out.flush()
        self._width = len(text)
