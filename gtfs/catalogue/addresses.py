# SPDX-License-Identifier: GPL-3.0-or-later
"""The trackers and web seeds that a catalogue may name. Pure; any thread."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

TRACKER_SCHEMES: Final = frozenset({"http", "https", "udp"})
WEB_SEED_SCHEMES: Final = frozenset({"http", "https"})
ADDRESS_BYTES: Final = 2048


def is_address(text: str, schemes: frozenset[str]) -> bool:
    """Whether a catalogue may name this tracker or web seed."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return good and " " not in text and len(text) <= ADDRESS_BYTES
