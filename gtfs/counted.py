# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of things, as people say them. Any thread."""

from __future__ import annotations


def counted(number: int, word: str, many: str | None = None) -> str:
    """A number of things; ``many`` is how more than one are said, by default ``word`` with s, and ry becomes ries."""
    if many is None:
        many = word[:-1] + "ies" if word.endswith("ry") else word + "s"
    return f"{number} {word if number == 1 else many}"
