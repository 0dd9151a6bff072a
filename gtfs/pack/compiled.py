# SPDX-License-Identifier: GPL-3.0-or-later
"""Five inner loops in C (_compiled.c), where gtfs was installed with a compiler at hand.

Each gives what the Python beside its caller gives, and None for all that is not plainly good, or where nothing was
compiled; the caller then does the same in Python. So what is refused, and why, stands in Python alone. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from gtfs.ids import ObjectId
from gtfs.pack.limits import Limits

try:
    from gtfs.pack import _compiled as _found  # type: ignore[attr-defined]  # no stub: typed by the functions here
except ImportError:
    _inner: Any = None
else:
    _inner = _found

_TOTAL_MAX = 1 << 62  # no sum of sizes is taken above

_Buffer: TypeAlias = bytes | bytearray | memoryview


class Walked(NamedTuple):
    """What a walk over a pack's entries found."""

    entries: list[tuple[int, int, int, ObjectId | None, int | None, int, int, int]]  # the fields of `scan.Entry`
    end: int  # of the last entry
    inflated: dict[int, bytes]
    sums: tuple[int, int, int, int, dict[ObjectId, int]]  # for `account.Account.adopt`


class TreeLook(NamedTuple):
    """What a tree without a fault in its form has; entries in their order, modes as they stand there."""

    children: list[tuple[int, ObjectId]]  # kind and id of its entries that are members, gitlinks left out
    remarkable: list[tuple[bytes, bytes, ObjectId]]  # at least the entries whose names `names.look_at` remarks on
    has_links: bool  # symbolic ones


def is_compiled() -> bool:
    """Whether any of this is done in C."""
    return _inner is not None


def walk(pack: _Buffer, start: int, end: int, count: int, oid_bytes: int, keep: int, limits: Limits) -> Walked | None:
    """Walk over ``count`` entries from ``start`` on, all before ``end``: `scan._walk`, with an account that is new."""
    if _inner is None:
        return None
    most = tuple(
        min(limit, _TOTAL_MAX)
        for limit in (
            limits.object_bytes,
            limits.delta_bytes,
            limits.delta_object_bytes,
            limits.structure_bytes,
            limits.expanded_bytes,
            limits.expansion,
        )
    )
    found = _inner.walk(pack, start, end, count, oid_bytes, min(keep, _TOTAL_MAX), most)
    return None if found is None else Walked._make(found)


def apply(base: bytes, delta: bytes, size: int) -> bytes | None:
    """The ``size`` bytes that a delta makes of its base."""
    return None if _inner is None else _inner.apply(base, delta, min(size, _TOTAL_MAX))


def resolve(
    entries: tuple[tuple[object, ...], ...],
    inflated: Mapping[int, bytes],
    lookup: Callable[[ObjectId], tuple[int, bytes] | None],
    new: Callable[[bytes], object],
    oid_bytes: int,
    room: int,
) -> tuple[list[tuple[object, ...]], int] | None:
    """The fields of `decode.Decoded` for each of the ``entries``, `scan.Entry`, whose streams were all kept and whose
    deltas stand on objects outside; and the bytes of structure that those make, at most ``room``.

    Raises what ``lookup`` does.
    """
    if _inner is None:
        return None
    found: tuple[list[tuple[object, ...]], int] | None = _inner.resolve(
        entries, inflated, lookup, new, oid_bytes, min(room, _TOTAL_MAX)
    )
    return found


def first_bytes(oids: Iterable[ObjectId]) -> bytes:
    """For `look`: 256 flags, not 0 where an id begins with this byte."""
    flags = bytearray(256)
    for oid in oids:
        flags[oid[0]] = 1
    return bytes(flags)


def look(
    tree: _Buffer, oid_bytes: int, component_bytes: int, members: Mapping[ObjectId, object], firsts: bytes
) -> TreeLook | None:
    """Look at a run of whole entries: the modes git writes, git's order, no name twice or too long, no null id.

    ``members`` is a dict; ``firsts`` are its `first_bytes`.
    """
    if _inner is None:
        return None
    found = _inner.look(tree, oid_bytes, min(component_bytes, _TOTAL_MAX), members, firsts)
    return None if found is None else TreeLook._make(found)


class Part(NamedTuple):
    """Some of what one pack's index says, in the order of names, gitformat-pack(5); at least one object."""

    number: int
    names: bytes
    offsets: bytes  # 4 bytes each
    far: bytes  # offsets of 8 bytes, to which those with the highest bit point


class Merged(NamedTuple):
    """All names of parts, each once."""

    names: bytes
    rows: bytes  # for each the number of its part and its offset there, of 4 bytes each
    far: bytes  # as in a part


def merge(parts: tuple[Part, ...], oid_bytes: int, far_before: int) -> Merged | None:
    """What several parts have is the first one's; ``far_before`` far offsets were given before."""
    if _inner is None:
        return None
    found = _inner.merge(parts, oid_bytes, far_before)
    return None if found is None else Merged._make(found)
