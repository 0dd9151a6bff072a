# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that was freed goes back to the system: what glibc keeps of it is else most of what a sync took (facts.md).

Of another C library nothing is asked. Any thread.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h
_ARENAS: Final = 2  # threads that allocate hold the GIL most of the time; each arena keeps what it had at most

_GC_OBJECTS: Final = 10_000

_libc = ctypes.CDLL(None)


def keep_little() -> None:
    """Let threads share arenas, and look for cycles seldom: for the whole process, before it has many objects.

    A sync makes millions of tuples and no cycles; looking through them took a twentieth of its time.
    """
    gc.set_threshold(_GC_OBJECTS, *gc.get_threshold()[1:])
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Give back what is free now: some milliseconds, without the GIL."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
