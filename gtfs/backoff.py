# SPDX-License-Identifier: GPL-3.0-or-later
"""How long what failed rests before it is tried again. Any thread."""

from __future__ import annotations


class Backoff:
    """Seconds of rest: ``first_s``, then twice as long each time, ``longest_s`` at most."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = self._next_s = first_s
        self._longest_s = longest_s

    def next_s(self) -> float:
        """The rest that is due now; the one after it is longer."""
        rest_s, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return rest_s

    def is_over(self) -> None:
        """It went well: the next rest is the first."""
        self._next_s = self._first_s
