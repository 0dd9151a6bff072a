# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an error says that a state directory is damaged, rather than busy, away or refused. Any thread."""

from __future__ import annotations

from gtfs.catalogue.statementstore import DamagedStore
from gtfs.errors import Blame, GtfsError
from gtfs.reel.index import IndexCorrupt


def is_damage(error: BaseException) -> bool:
    """Whether something of the state cannot be read as what it was written as."""
    return isinstance(error, DamagedStore | IndexCorrupt) or (
        isinstance(error, GtfsError) and error.fault is Blame.DATA
    )
