# SPDX-License-Identifier: GPL-3.0-or-later
"""Which gtfs this is. The number stands in setup.cfg alone; an installed gtfs, editable too, has it in its metadata."""

from __future__ import annotations


def version() -> str:
    """As setup.cfg has it: numbers with points between them."""
    from importlib import metadata  # takes longer to import than a small command runs

    return metadata.version("gtfs")
