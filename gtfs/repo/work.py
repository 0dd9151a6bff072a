# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work as one value, handed down to whoever does a part of it: by how many, until when, and who hears of it.

Any thread; ``stop`` and ``tell`` are called in that of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple


class Step(NamedTuple):
    """How far it is: so many packs of all, and their bytes; or a ``phase`` that begins, of unknown length."""

    packs: int = 0
    packs_of: int = 0
    size: int = 0  # bytes
    phase: str = ""


@dataclass(frozen=True)
class Work:
    """``jobs``: processes, None for one on each core. It ends at a whole pack once ``stop`` gives true."""

    jobs: int | None = None
    stop: Callable[[], bool] = lambda: False
    tell: Callable[[Step], None] = lambda _step: None


UNWATCHED: Final = Work()
