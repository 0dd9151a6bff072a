# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of design.md §13 that concern packs and objects; each names itself in the error it causes.

One object of them serves who publishes and who takes in, so that what a publisher seals is what a mirror with the same
limits accepts. The name of a limit is its option's (``limit_object_bytes=``), and without the underscores its key's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final

from gtfs.errors import Blame, GtfsError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
SIZE_UNITS: Final = (("T", 1 << 40), ("G", GIB), ("M", MIB), ("K", KIB))
_SIZE: Final = re.compile(r"([0-9]{1,18})(?:([KMGT])(?:iB)?)?", re.IGNORECASE)


class BadSize(GtfsError):
    """Text that is no size."""

    fault = Blame.USAGE


@dataclass(frozen=True)
class Limits:
    """How much a pack may ask of this machine; sizes in bytes, the defaults are design.md §13's."""

    object_bytes: int = 4 * GIB
    delta_bytes: int = 64 * MIB
    delta_object_bytes: int = 64 * MIB  # a delta's base and its result, which are held whole
    objects: int = 2_000_000
    structure_bytes: int = 512 * MIB  # commits, trees and tags are always held; two million entries take a quarter
    expansion: int = 100
    expanded_bytes: int = 64 * GIB
    delta_depth: int = 4096
    component_bytes: int = 255
    tree_depth: int = 256
    quarantine_bytes: int = GIB


LIMITS: Final = tuple(field.name for field in fields(Limits))

UNLIMITED: Final = Limits(**dict.fromkeys(LIMITS, 1 << 62))


def option_of(limit: str) -> str:
    """The word of ``-o`` that sets a limit."""
    return f"limit_{limit}"


def key_of(limit: str) -> str:
    """The key that sets a limit in the node's config: git allows no underscore there."""
    return "limit" + limit.replace("_", "")


def parse_size(text: str, name: str) -> int:
    """Bytes behind "65536", "512K", "64M" or "10G"; raises `BadSize`, which names what the size is for."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise BadSize(f"{name}={text}: not a size such as 65536, 512K, 64M or 10G (powers of 1024)")
    return int(found[1]) * dict(SIZE_UNITS).get((found[2] or "").upper(), 1)
