# SPDX-License-Identifier: GPL-3.0-or-later
"""The trackers, web seeds and place to push to that a catalogue may name. Pure; any thread."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

TRACKER_SCHEMES: Final = frozenset({"http", "https", "udp"})
WEB_SEED_SCHEMES: Final = frozenset({"http", "https"})
ADDRESS_BYTES: Final = 2048
PUSH_FORM: Final = (
    "https, http, ssh, git or file URL or USER@HOST:PATH, without a password, of letters, digits and ._~/:@%+,=-"
)

# Nothing in it means anything to a shell, and no program takes any of it for an option.
_HOST: Final = r"(?:[A-Za-z0-9._][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])"
_USER: Final = r"(?:[A-Za-z0-9._][A-Za-z0-9._+-]*@)?"
_PATH: Final = r"[A-Za-z0-9._~/@%+,=:-]*"
_PUSH_URL = re.compile(
    rf"(?:(?:https?|ssh|git)://{_USER}{_HOST}(?::[0-9]{{1,5}})?(?:/{_PATH})?|file:///{_PATH}|{_USER}{_HOST}:(?![-:])(?!//){_PATH})"
)


def is_address(text: str, schemes: frozenset[str]) -> bool:
    """Whether a catalogue may name this tracker or web seed."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return good and " " not in text and len(text) <= ADDRESS_BYTES


def is_push_url(text: str) -> bool:
    """Whether a catalogue may name this as the place where its repository takes pushes: people copy it to a shell."""
    return len(text) <= ADDRESS_BYTES and _PUSH_URL.fullmatch(text) is not None
