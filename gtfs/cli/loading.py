# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports without the garbage collector, in which a third of a command's start went.

What a module makes as it is loaded stays until the process ends, and nearly all of it can be in a cycle: the collector
would walk through it again and again, at the end of the process too, and find nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Import in this; what there is at its end is never looked at by the collector again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
