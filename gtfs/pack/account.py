# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pack asks of who takes it in, added up entry by entry and held to the limits of design.md §13.

The encoder and the scan keep the same account, so that nothing is sealed that a mirror with the same limits refuses.

How far a pack may expand is judged by stream. A whole object's stream expands by what deflate can do, 1032 times at
most, and a sparse file of a GiB is an ordinary file: only ``object_bytes`` and ``expanded_bytes`` bound it. A delta can
make a gigabyte of nothing. What its result copies from a base outside of the pack is bytes that are there, once for
each base; all else that deltas make is held to ``expansion`` times the pack. One account, one thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gtfs.ids import ObjectId
from gtfs.pack.format import LimitExceeded
from gtfs.pack.limits import MIB, Limits

FREE_EXPANSION_BYTES: Final = 64 * MIB  # what deltas of even the smallest pack may make; beyond, the ratio counts


class Needs(NamedTuple):
    """What the limits must be at least for a pack, or for all packs of a catalogue; 0: nothing worth a word."""

    object_bytes: int = 0
    expanded_bytes: int = 0
    objects: int = 0

    def and_those_of(self, other: Needs) -> Needs:
        """Enough for both."""
        return Needs(*map(max, self, other))

    def beyond(self, limits: Limits) -> tuple[str, int, int] | None:
        """The first limit that is too low: its name, what is allowed and what is needed."""
        for name, needed in self._asdict().items():
            allowed = getattr(limits, name)
            if needed > allowed:
                return name, allowed, needed
        return None


NO_NEEDS: Final = Needs()

# Below these no limit that anybody would set is met, and nothing is recorded.
_REMARKABLE: Final = Needs(object_bytes=32 * MIB, expanded_bytes=256 * MIB, objects=100_000)


@dataclass
class Account:
    """Adds up one pack; each call raises `LimitExceeded` once a limit is met."""

    _limits: Limits
    _objects: int = 0
    _largest: int = 0
    _expanded: int = 0
    _structure: int = 0
    _made_of_nothing: int = 0  # what deltas make beyond their bases
    _credit: dict[ObjectId, int] = field(default_factory=dict)  # by base: what its deltas may copy from it, once

    def begin(self, objects: int, at: int = 0) -> None:
        """The pack says how many objects it has."""
        self._objects = objects
        self._hold("objects", objects, at)

    def adopt(self, largest: int, expanded: int, structure: int, made: int, credit: dict[ObjectId, int]) -> None:
        """The sums of a walk that held them to the same limits (`gtfs.pack.compiled`)."""
        self._largest, self._expanded, self._structure = largest, expanded, structure
        self._made_of_nothing, self._credit = made, credit

    def whole(self, size: int, at: int = 0) -> None:
        """An object that is stored whole."""
        self._hold("object_bytes", size, at)
        self._add(size, at)

    def structure(self, size: int, at: int = 0) -> None:
        """A commit, tree or tag, however it is stored; on top of `whole` or `delta`."""
        self._structure += size
        self._hold("structure_bytes", self._structure, at)

    def structure_room(self) -> int:
        """How much `structure` may still be given."""
        return self._limits.structure_bytes - self._structure

    def delta(self, size: int, base: ObjectId | None, base_size: int, result_size: int, at: int = 0) -> None:
        """A delta of ``size`` bytes; ``base`` is None for one that is in the pack too."""
        self._hold("delta_bytes", size, at)
        for limit in ("object_bytes", "delta_object_bytes"):
            self._hold(limit, max(base_size, result_size), at)
        self._made_of_nothing += result_size
        if base is not None and base not in self._credit:
            self._credit[base] = min(base_size, result_size)
            self._made_of_nothing -= self._credit[base]
        self._add(result_size, at)

    def base_within(self, base: ObjectId, length: int, at: int = 0) -> None:
        """What `delta` took for a base outside turned out to be in the pack, which has ``length`` bytes."""
        self._made_of_nothing += self._credit.pop(base, 0)
        self.check_ratio(length, at)

    def check_ratio(self, length: int, at: int = 0) -> None:
        """Hold what deltas make to the length of the whole pack."""
        made = self._made_of_nothing
        if made > FREE_EXPANSION_BYTES and made > self._limits.expansion * length:
            raise LimitExceeded("expansion", self._limits.expansion * length, made, at)

    def needs(self) -> Needs:
        """What was added up, as far as it is remarkable."""
        found = Needs(self._largest, self._expanded, self._objects)
        return Needs(*(n if n > least else 0 for n, least in zip(found, _REMARKABLE, strict=True)))

    def _add(self, size: int, at: int) -> None:
        self._largest = max(self._largest, size)
        self._expanded += size
        self._hold("expanded_bytes", self._expanded, at)

    def _hold(self, limit: str, wanted: int, at: int) -> None:
        allowed: int = getattr(self._limits, limit)
        if wanted > allowed:
            raise LimitExceeded(limit, allowed, wanted, at)
