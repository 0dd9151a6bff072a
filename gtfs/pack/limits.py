# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of design.md §13 that concern packs and objects; each names itself in the error it causes."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """How much a pack from elsewhere may ask of this machine; sizes in bytes, the defaults are design.md §13's."""

    object_bytes: int = 256 * MIB
    delta_bytes: int = 64 * MIB
    objects: int = 2_000_000
    expansion: int = 100
    expanded_bytes: int = 4 * GIB
    delta_depth: int = 4096
    component_bytes: int = 255
    tree_depth: int = 256
    signature_bytes: int = 16 * KIB
