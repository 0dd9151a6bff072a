# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding of design.md §8.2: every object of a scanned pack, its deltas applied and its id recomputed.

Takes a `Scan` of the same bytes on trust for lengths and nothing else. What objects mean is not looked at: that is
`gtfs.ingest.checkobjects`. Holds at most `HELD_BYTES` of blobs, a few copies of one object, and in C 64 MiB of what
deltas stand on outside of the pack. Any thread; ``lookup`` is called on the same one.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from gtfs.ids import ObjectFormat, ObjectId
from gtfs.pack import compiled
from gtfs.pack.format import BLOB, KIND_NAMES, OFS_DELTA, CorruptPack, LimitExceeded
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.scan import Entry, PackBytes, Scan, inflate, inflate_stream

Lookup: TypeAlias = Callable[[ObjectId], tuple[int, bytes] | None]

STREAM_BYTES: Final = 32 * MIB  # design.md §3.8: larger blobs are hashed as they pass
HELD_BYTES: Final = 256 * MIB  # a pack that expands to more gives no blob's data, and its bases come from a cache


class Decoded(NamedTuple):
    """An object of the pack; ``data`` is None for what `decode` does not hold, and then only for blobs."""

    oid: ObjectId
    kind: int  # COMMIT, TREE, BLOB or TAG
    size: int
    data: bytes | None
    entry: Entry


_decoded: Final = partial(tuple.__new__, Decoded)  # `Decoded._make` takes twice as long


class MissingBase(CorruptPack):
    """Deltas whose bases are neither in the pack nor known here: it has to wait for them (design.md §8.2)."""

    def __init__(self, bases: Sequence[ObjectId], offset: int) -> None:
        more = f" and {len(bases) - 1} more" if len(bases) > 1 else ""
        super().__init__(f"the delta's base {bases[0].hex()}{more} is not here", offset)
        self.base = bases[0]
        self.bases = tuple(bases)


def decode(pack: PackBytes, scan: Scan, fmt: ObjectFormat, limits: Limits, lookup: Lookup) -> list[Decoded]:
    """All objects of a scanned pack, in the order of the file.

    The bytes must be those that were scanned, and stay so (a mapped file that somebody truncates ends the process).
    ``lookup`` gives kind and contents of an object outside of the pack, or None. A blob's ``data`` is None if it is
    over `STREAM_BYTES`, or if the pack expands to over `HELD_BYTES`: see `reread`.
    Raises `CorruptPack`, `MissingBase` and `LimitExceeded`.
    """
    if scan.expanded_bytes() <= HELD_BYTES and len(scan.inflated) == len(scan.entries):
        room = scan.account.structure_room()
        found = compiled.resolve(scan.entries, scan.inflated, lookup, fmt.new, fmt.oid_bytes, room)
        if found is not None:
            scan.account.structure(found[1])
            return list(map(_decoded, found[0]))
    return _Decoder(pack, scan, fmt, limits, lookup).run()


def reread(pack: PackBytes, decoded: Sequence[Decoded], lookup: Lookup) -> Callable[[ObjectId], bytes | None]:
    """A function that makes the contents of one object of the pack again, or gives None for ids it does not have."""
    by_oid = {d.oid: d for d in reversed(decoded)}
    by_offset = {d.entry.offset: d for d in decoded}

    def read(oid: ObjectId) -> bytes | None:
        at = by_oid.get(oid)
        deltas: list[Entry] = []
        data: bytes | None = None
        while at is not None and data is None:
            data, entry = at.data, at.entry
            if data is None and entry.kind < OFS_DELTA:
                data = inflate(pack, entry)
            elif data is None:
                deltas.append(entry)
                if entry.base_offset is not None:
                    at = by_offset[entry.base_offset]
                elif entry.base is not None:
                    at = by_oid.get(entry.base)
                    outside = lookup(entry.base) if at is None else None
                    data = outside[1] if outside else None
        while data is not None and deltas:
            entry = deltas.pop()
            data = _apply(data, inflate(pack, entry), entry)
        return data

    return read


class _Decoder:
    """One pack on its way; objects are named by their number in the file."""

    def __init__(self, pack: PackBytes, scan: Scan, fmt: ObjectFormat, limits: Limits, lookup: Lookup) -> None:
        self._pack = pack
        self._entries = scan.entries
        self._inflated = scan.inflated
        self._fmt = fmt
        self._limits = limits
        self._lookup = lookup
        self._hold_all = scan.expanded_bytes() <= HELD_BYTES
        self._done: list[Decoded | None] = [None] * len(scan.entries)
        self._account = scan.account
        self._length = scan.length
        # Contents that `Decoded` does not hold and a delta may want: the most recent, HELD_BYTES of them.
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._recent_bytes = 0
        self._origin: dict[
            int, int | ObjectId
        ] = {}  # of deltas: the number or, outside of the pack, the id of its base

    def run(self) -> list[Decoded]:
        deltas: list[int] = []
        for i, entry in enumerate(self._entries):
            if entry.kind >= OFS_DELTA:
                deltas.append(i)
            elif entry.kind == BLOB and entry.size > STREAM_BYTES:
                self._done[i] = Decoded(self._hash_stream(entry), BLOB, entry.size, None, entry)
            else:
                self._finish(i, entry.kind, self._stream_of(entry))
        if deltas:
            self._resolve(deltas)
        return [d for d in self._done if d is not None]

    def _resolve(self, deltas: list[int]) -> None:
        numbers = {entry.offset: i for i, entry in enumerate(self._entries)}
        waiting: dict[int | ObjectId, list[int]] = {}  # by the base: its number, or its id
        for i in deltas:
            entry = self._entries[i]
            key = numbers[entry.base_offset] if entry.base_offset is not None else entry.base
            assert key is not None
            waiting.setdefault(key, []).append(i)

        for i, done in enumerate(self._done):
            if done is not None and (i in waiting or done.oid in waiting):
                self._follow(i, 0, waiting)
        # Every base is asked for outside before one is called missing: what it frees may hold the next.
        for oid in [key for key in waiting if isinstance(key, bytes)]:
            children = waiting.get(oid)
            found = self._lookup(oid) if children else None
            if children and found is not None:
                del waiting[oid]
                for i in children:
                    self._origin[i] = oid
                    self._finish(i, found[0], _apply(found[1], self._stream_of(self._entries[i]), self._entries[i]))
                found = None
                for i in children:
                    self._follow(i, 1, waiting)
        missing = [key for key in waiting if isinstance(key, bytes)]
        if missing:
            raise MissingBase(missing, self._entries[waiting[missing[0]][0]].offset)

    def _follow(self, first: int, depth: int, waiting: dict[int | ObjectId, list[int]]) -> None:
        """Resolve all deltas that stand on ``first``, which is done and ``depth`` deltas deep itself."""
        stack = [(first, depth)]
        while stack:
            number, depth = stack.pop()
            base = self._done[number]
            assert base is not None
            children = waiting.pop(number, []) + waiting.pop(base.oid, [])
            if not children:
                continue
            if depth >= self._limits.delta_depth:
                where = self._entries[children[0]].offset
                raise LimitExceeded("delta_depth", self._limits.delta_depth, depth + 1, where)
            data = self._data_of(number)
            # The scan could not tell that this base is no other pack's.
            self._account.base_within(base.oid, self._length, base.entry.offset)
            for i in children:
                self._origin[i] = number
                self._finish(i, base.kind, _apply(data, self._stream_of(self._entries[i]), self._entries[i]))
                stack.append((i, depth + 1))

    def _finish(self, number: int, kind: int, data: bytes) -> None:
        entry = self._entries[number]
        oid = self._fmt.hash_object(KIND_NAMES[kind], data)
        held: bytes | None = data
        if kind != BLOB:
            if entry.kind >= OFS_DELTA:  # the scan could not tell what it makes
                self._account.structure(len(data), entry.offset)
        elif not self._hold_all or len(data) > STREAM_BYTES:
            held = None
            self._remember(number, data)
        self._done[number] = Decoded(oid, kind, len(data), held, entry)

    def _remember(self, number: int, data: bytes) -> None:
        self._recent[number] = data
        self._recent_bytes += len(data)
        while self._recent_bytes > HELD_BYTES:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1])

    def _data_of(self, number: int) -> bytes:
        """Contents of an object that is done: at hand, or made again along the chain of its bases."""
        chain: list[int] = []
        data: bytes | None = None
        while data is None:
            done = self._done[number]
            assert done is not None
            data = done.data if done.data is not None else self._recent.get(number)
            if data is None:
                chain.append(number)
                origin = self._origin.get(number)
                if origin is None:
                    data = self._stream_of(done.entry)
                    self._remember(chain.pop(), data)
                elif isinstance(origin, int):
                    number = origin
                else:
                    found = self._lookup(origin)
                    if found is None:
                        raise MissingBase([origin], done.entry.offset)
                    data = found[1]
        while chain:
            number = chain.pop()
            data = _apply(data, self._stream_of(self._entries[number]), self._entries[number])
            self._remember(number, data)
        return data

    def _stream_of(self, entry: Entry) -> bytes:
        kept = self._inflated.get(entry.offset)
        return inflate(self._pack, entry) if kept is None else kept

    def _hash_stream(self, entry: Entry) -> ObjectId:
        h = self._fmt.new(b"blob %d\0" % entry.size)
        for piece in inflate_stream(self._pack, entry):
            h.update(piece)
        return ObjectId(h.digest())


def _stops_in_time(apply_delta: object) -> bool:
    """dulwich's compiled one stops at the stated size; the one in Python, on hosts without its wheel, does not."""
    return inspect.isbuiltin(apply_delta)


def _apply(base: bytes, delta: bytes, entry: Entry) -> bytes:
    """The delta's result; the scan has found ``entry.result_size`` in the delta and within the limits."""
    made = compiled.apply(base, delta, entry.result_size)
    if made is not None:
        return made
    from dulwich.errors import ApplyDeltaError  # takes long to load, and what is sound is made above
    from dulwich.pack import apply_delta

    if not _stops_in_time(apply_delta):
        measure_delta(delta, entry)
    try:
        result = b"".join(apply_delta(base, delta))
    except (ApplyDeltaError, AssertionError, IndexError, TypeError, ValueError) as why:
        raise CorruptPack(f"a delta that does not fit its base: {why}", entry.offset) from None
    if len(result) != entry.result_size:
        raise CorruptPack(f"a delta that makes {len(result)} bytes, not {entry.result_size}", entry.offset)
    return result


def apply_found(base: bytes, delta: bytes, entry: Entry) -> bytes:
    """The result of a delta that was decoded before, its ``entry`` as the scan found it; raises `CorruptPack`."""
    return _apply(base, delta, entry)


def measure_delta(delta: bytes, entry: Entry) -> None:
    """Raise `CorruptPack` unless the delta's instructions are whole and make the size that it states."""
    pos = 0
    for _ in ("base", "result"):
        while delta[pos] & 0x80:
            pos += 1
        pos += 1
    made = 0
    while pos < len(delta) and made <= entry.result_size:
        code = delta[pos]
        pos += 1
        if code & 0x80:
            pos += (code & 0x0F).bit_count()
            size = 0
            for i in range(3):
                if code & 0x10 << i and pos < len(delta):
                    size |= delta[pos] << 8 * i
                    pos += 1
            made += size or 0x10000
        else:
            pos += code
            made += code
    if pos != len(delta) or made != entry.result_size:
        raise CorruptPack("a delta whose instructions do not make its size", entry.offset)
