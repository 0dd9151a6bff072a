# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes commit packs: the same commit gives the same bytes on every machine (design.md §3).

Holds at most a few copies of one object; blobs over 32 MiB pass through in 1 MiB segments. One thread for each
`Encoder`; several processes may encode one repository.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from gtfs.errors import GtfsError
from gtfs.ids import ObjectFormat, ObjectId, PackDigest
from gtfs.pack.account import Account, Needs
from gtfs.pack.deflate import deflate, deflate_stream
from gtfs.pack.delta import blob_tokens, make_delta, tree_tokens
from gtfs.pack.format import BLOB, HEADER, MAGIC, REF_DELTA, TREE, VERSION, LimitExceeded, entry_header
from gtfs.pack.limits import MIB, Limits
from gtfs.pack.quickdelta import blob_delta, tree_delta
from gtfs.pack.treediff import Tree
from gtfs.pack.trees import CACHED_BYTES, MissingObject, OverLimit, RawObject, WrongKind
from gtfs.pack.walk import Introduced, Introduction, Walker

MIN_DELTA_TARGET: Final = 64  # bytes; §3.3
MAX_DELTA_OBJECT: Final = 32 * MIB  # bytes; §3.3, §3.8
_KEPT_OBJECT: Final = 320  # bytes, about, of what is kept, beside its data: most blobs may be smaller
_FLUSH: Final = MIB
_ASKED: Final = 32  # objects that are looked for together
_READY: Final = 16  # packs whose objects are known before the first of them is made


class ObjectReader(Protocol):
    """Reads objects of a repository; all raise `trees.MissingObject`."""

    def ask(self, oids: Iterable[ObjectId]) -> None: ...

    def read(self, oid: ObjectId, limit: int) -> RawObject: ...

    def stream(self, oid: ObjectId) -> Iterator[bytes]: ...


class PackStamp(NamedTuple):
    """What is known of a commit pack once it is written; ``time_s`` and ``parents`` as in `walk.Introduction`."""

    oid: ObjectId
    kind: int
    time_s: int
    parents: tuple[ObjectId, ...]
    length: int
    digest: PackDigest
    needs: Needs


class _Out:
    """Gathers small pieces, hashes them twice and hands them on."""

    def __init__(self, write: Callable[[bytes], object], fmt: ObjectFormat) -> None:
        self._write = write
        self._trailer = fmt.new(b"")
        self._digest = hashlib.sha256()
        self._parts: list[bytes] = []
        self._pending = 0
        self._length = 0

    def put(self, piece: bytes) -> None:
        self._parts.append(piece)
        self._pending += len(piece)
        if self._pending >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        piece = b"".join(self._parts)
        self._trailer.update(piece)
        self._digest.update(piece)
        self._write(piece)
        self._length += len(piece)
        self._parts.clear()
        self._pending = 0

    def finish(self) -> tuple[int, PackDigest]:
        self._flush()
        trailer = self._trailer.digest()
        self._digest.update(trailer)
        self._write(trailer)
        return self._length + len(trailer), PackDigest(self._digest.digest())


class _Ready(NamedTuple):
    """A pack whose objects are known; ``is_asked``: the reader looks for its blobs."""

    oid: ObjectId
    introduction: Introduction
    is_asked: bool


def _blobs(introduction: Introduction) -> list[Introduced]:
    return [item for item in introduction.objects if item.kind == BLOB]


def is_keyframe(oid: ObjectId, target_size: int, delta_size: int) -> bool:
    """Whether an object is stored whole although a delta would do, so that chains stay near 250 (§3.3)."""
    k = min(128, max(32, target_size // (delta_size + 40)))
    return int.from_bytes(oid[:2], "big") % k == 0


class Encoder:
    """Encodes commits and tags of one repository; faster when they come in history order.

    ``cached_bytes`` of objects, and as many of trees, are kept because the next commit's deltas often want them.
    """

    def __init__(
        self, reader: ObjectReader, fmt: ObjectFormat, limits: Limits | None = None, cached_bytes: int = CACHED_BYTES
    ) -> None:
        self._reader = reader
        self._limits = limits or Limits()
        self._walker = Walker(reader, fmt, self._limits, cached_bytes)
        self._cached_bytes = cached_bytes
        self._fmt = fmt
        self._tree_tokens = tree_tokens(fmt.oid_bytes)
        self._recent: OrderedDict[tuple[ObjectId, int], bytes] = OrderedDict()  # by id and proven kind
        self._recent_bytes = 0
        self._upcoming: deque[ObjectId] = deque()
        self._ready: deque[_Ready] = deque()

    def begin(self, oids: Sequence[ObjectId]) -> None:
        """Say what is encoded next, in this order, so that some of it can be read at once."""
        self._walker.begin(oids)
        self._upcoming = deque(oids)
        self._ready.clear()

    def encode(self, oid: ObjectId, write: Callable[[bytes], object]) -> PackStamp:
        """Write the commit pack of ``oid`` by calls of ``write``; raises `trees.Unencodable`.

        Nothing is written before it is known which objects the pack holds; a read that fails later, or a limit that
        is met, leaves a torn pack behind, which the caller drops.
        """
        _, introduction, is_asked = self._introduced_by(oid)
        out = _Out(write, self._fmt)
        account = Account(self._limits)
        item = introduction.objects[0]
        try:
            account.begin(len(introduction.objects))
            out.put(HEADER.pack(MAGIC, VERSION, len(introduction.objects)))
            for number, item in enumerate(introduction.objects):
                if not number % _ASKED and not is_asked:
                    self._ask(introduction.objects[number : number + _ASKED])
                self._entry(item, out, account)
            length, digest = out.finish()
            account.check_ratio(length)
        except LimitExceeded as e:
            raise OverLimit(item.oid, e, self._walker.path_of(introduction, item.oid)) from None
        return PackStamp(
            oid, introduction.kind, introduction.time_s, introduction.parents, length, digest, account.needs()
        )

    def find(self, oid: ObjectId, limit: int) -> RawObject | None:
        """An object, None where it is missing, without its contents where it is longer than ``limit``; what a pack that
        was just encoded stands on is mostly at hand."""
        tree = self._walker.cached_tree(oid)
        data = self._recent.get((oid, BLOB)) if tree is None else tree.raw
        if data is not None:
            return RawObject(BLOB if tree is None else TREE, len(data), data if len(data) <= limit else None)
        try:
            return self._reader.read(oid, limit)
        except MissingObject:
            return None

    def _introduced_by(self, oid: ObjectId) -> _Ready:
        """What it introduces. The reader looks for the blobs of some small packs that come next, too, where there are.

        A question by itself takes longer than a small blob.
        """
        if self._ready and self._ready[0].oid == oid:
            return self._ready.popleft()
        self._ready.clear()
        introduction = self._walker.introduced_by(oid)
        while self._upcoming and self._upcoming.popleft() != oid:
            pass
        items = _blobs(introduction)
        room = self._cached_bytes // 4 - self._tree_bytes(introduction)
        while self._upcoming and len(self._ready) < _READY and self._walker.is_at_hand(self._upcoming[0]) and room > 0:
            following = self._upcoming.popleft()
            try:
                found = self._walker.introduced_by(following)
            except GtfsError:  # it is said when it is its turn
                break
            room -= self._tree_bytes(found)
            blobs = _blobs(found)
            fits = len(items) + len(blobs) <= _ASKED
            self._ready.append(_Ready(following, found, fits))
            if not fits:
                break
            items += blobs
        is_asked = len(self._ready) > 0 and self._ready[0].is_asked
        if is_asked:
            self._ask(items)
        return _Ready(oid, introduction, is_asked)

    def _tree_bytes(self, introduction: Introduction) -> int:
        """About how much of the cache its trees take: each has a base, mostly."""
        trees = (self._walker.cached_tree(item.oid) for item in introduction.objects if item.kind == TREE)
        return sum(2 * len(tree.raw) for tree in trees if tree is not None)

    def _ask(self, items: Sequence[Introduced]) -> None:
        """Let the reader look for blobs and their bases; most of these are at hand."""
        wanted = dict.fromkeys(
            oid
            for item in items
            if item.kind == BLOB
            for oid in (item.oid, item.base)
            if oid is not None and (oid, BLOB) not in self._recent
        )
        if len(wanted) > 1:
            self._reader.ask(wanted)

    def _entry(self, item: Introduced, out: _Out, account: Account) -> None:
        data = item.data
        size = None
        if data is None:
            data, size = self._object(item.oid, item.kind)
        size = len(data) if data is not None else size or 0
        if item.kind != BLOB:
            account.structure(size)
        if data is None:
            account.whole(size)
            out.put(entry_header(item.kind, size))
            for piece in deflate_stream(self._reader.stream(item.oid), size):
                out.put(piece)
            return
        delta, base_size = self._delta(item, data)
        if delta is not None and item.base is not None:
            account.delta(len(delta), item.base, base_size, size)
            out.put(entry_header(REF_DELTA, len(delta)) + item.base)
            data = delta
        else:
            account.whole(size)
            out.put(entry_header(item.kind, len(data)))
        out.put(deflate(data))

    def _delta(self, item: Introduced, data: bytes) -> tuple[bytes | None, int]:
        """The delta, None where it shall not be one, and the size of its base."""
        if item.base is None or item.kind not in (TREE, BLOB):
            return None, 0
        if not MIN_DELTA_TARGET <= len(data) <= MAX_DELTA_OBJECT:
            return None, 0
        base, base_size = self._object(item.base, item.kind)
        if base is None:
            return None, base_size
        delta = self._make(item, base, data)
        if 2 * len(delta) >= len(data) or is_keyframe(item.oid, len(data), len(delta)):
            return None, base_size
        return delta, base_size

    def _make(self, item: Introduced, base: bytes, data: bytes) -> bytes:
        if item.kind == BLOB:
            found = blob_delta(base, data)
            return make_delta(base, data, blob_tokens) if found is None else found
        found = tree_delta(base, data, self._fmt.oid_bytes)
        if found is not None:
            return found
        tree = self._walker.cached_tree(item.oid) or Tree(data, self._fmt.oid_bytes)
        return make_delta(base, data, self._tree_tokens, tree.borders())

    def _object(self, oid: ObjectId, kind: int) -> tuple[bytes | None, int]:
        """The object's data, or None when it is over 32 MiB, and its size; raises `WrongKind` if it is another kind."""
        if kind == TREE:
            tree = self._walker.cached_tree(oid)
            if tree is not None and len(tree.raw) <= MAX_DELTA_OBJECT:
                return tree.raw, len(tree.raw)
        data = self._recent.get((oid, kind))
        if data is not None:
            self._recent.move_to_end((oid, kind))
            return data, len(data)
        raw = self._reader.read(oid, MAX_DELTA_OBJECT)
        if raw.kind != kind:
            raise WrongKind(oid, kind, raw.kind)
        data = raw.data
        if data is not None and len(data) <= self._cached_bytes // 4:
            self._recent[oid, kind] = data
            self._recent_bytes += len(data) + _KEPT_OBJECT
            while self._recent_bytes > self._cached_bytes:
                _, old = self._recent.popitem(last=False)
                self._recent_bytes -= len(old) + _KEPT_OBJECT
        return data, raw.size
