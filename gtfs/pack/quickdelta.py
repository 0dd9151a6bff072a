# SPDX-License-Identifier: GPL-3.0-or-later
"""Deltas and differences of trees in C (_deltas.c), where gtfs was installed with a compiler at hand.

Each gives what `delta.make_delta` and `treediff.difference` give, byte for byte, and None for what is not plainly good
or where nothing was compiled; the caller then does the same in Python. Any thread.
"""

from __future__ import annotations

from typing import Any

try:
    from gtfs.pack import _deltas as _found  # type: ignore[attr-defined]  # no stub: typed by the functions here
except ImportError:
    _inner: Any = None
else:
    _inner = _found


def is_compiled() -> bool:
    """Whether any of this is done in C."""
    return _inner is not None


def blob_delta(base: bytes, target: bytes) -> bytes | None:
    """The delta whose tokens are lines."""
    return None if _inner is None else _inner.make_delta(base, target, 0)


def tree_delta(base: bytes, target: bytes, oid_bytes: int) -> bytes | None:
    """The delta whose tokens are a tree's entries."""
    return None if _inner is None else _inner.make_delta(base, target, oid_bytes)


def sorted_difference(old: bytes, new: bytes, oid_bytes: int) -> tuple[list[bytes], list[bytes]] | None:
    """The entries that are only in the old of two trees in git's order without repeats, and those only in the new."""
    return None if _inner is None else _inner.difference(old, new, oid_bytes)
