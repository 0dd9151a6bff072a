# SPDX-License-Identifier: GPL-3.0-or-later
"""``DIR/.gtfs``: what a node knows beside the packs, as files (design.md §9). Look-ups answer at once. Trio loop."""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from gtfs.errors import GtfsError
from gtfs.ids import METAINFO_SUFFIX, REEL_SUFFIX, BadId, ObjectId, parse_object_id, parse_reel_name
from gtfs.metainfo import info_of, metainfo_bytes, with_trackers, wrap_info
from gtfs.mount.tree import ControlEntry
from gtfs.reel.index import ReelRow
from gtfs.state.state import State
from gtfs.view.packmetainfo import pack_metainfo
from gtfs.view.packs import Packs

log = logging.getLogger(__name__)

_DIRECTORY: Final = ControlEntry("dir")
_TORRENT: Final = METAINFO_SUFFIX.encode()
_ASC: Final = b".asc"

Parts = tuple[bytes, ...]
ReadReel = Callable[[ReelRow, int, int], Awaitable[bytes]]


class ControlFiles:
    """The mount's ControlTree.

    ``status`` gives the node's status; ``read_reel`` reads a reel that may not be here; ``take_copied`` judges what is
    copied in; ``trackers`` are named in torrents beside those of the catalogue.
    """

    def __init__(
        self,
        state: State,
        store: Packs,
        status: Callable[[], dict[str, object]],
        read_reel: ReadReel,
        take_copied: Callable[[bytes], Awaitable[None]],
        trackers: Sequence[str],
    ) -> None:
        self._state = state
        self._packs = store
        self._status = status
        self._read_reel = read_reel
        self._take_copied = take_copied
        self._trackers = trackers
        self._sorted_of: Mapping[bytes, ObjectId] = {}  # the refs whose names these are, in order
        self._sorted: list[bytes] = []
        self._rooms: dict[bytes, tuple[Callable[[], list[bytes]], Callable[[bytes], ControlEntry | None]]] = {
            b"chunks": (lambda: sorted(name.encode() for name in self._chunks()), self._chunk),
            b"quarantine": (partial(self._files, state.quarantine.directory), self._quarantined),
            b"reels": (self._reel_names, self._reel),
            b"signoffs": (lambda: [oid.hex().encode() + _ASC for oid in state.index.signoffs.oids()], self._signoff),
            b"torrents": (lambda: [n + _TORRENT for n in self._reel_names()], self._torrent),
        }

    async def take(self, parts: Parts, document: bytes) -> None:
        """See `mount.tree.ControlTree`."""
        try:
            await self._take_copied(document)
        except GtfsError as e:
            log.warning("what was copied to .gtfs/%s is refused: %s", b"/".join(parts).decode("utf-8", "replace"), e)
            raise
        log.info("took .gtfs/%s", b"/".join(parts).decode("utf-8", "replace"))

    def names(self, parts: Parts) -> list[bytes]:
        """See `mount.tree.ControlTree`."""
        if not parts:
            top = [b"refs", b"status", *(room for room in self._rooms if room != b"chunks" or self._chunks())]
            return [*top, b"catalogue"] if self._state.held is not None else top
        if parts[0] == b"refs":
            prefix = b"/".join(parts) + b"/"
            return sorted({n[len(prefix) :].split(b"/", 1)[0] for n in self._refs_below(prefix)})
        if len(parts) == 1 and parts[0] in self._rooms:
            return self._rooms[parts[0]][0]()
        return []

    def look(self, parts: Parts) -> ControlEntry | None:
        """See `mount.tree.ControlTree`."""
        if not parts:
            return _DIRECTORY
        if parts[0] == b"refs":
            return self._ref(parts)
        if len(parts) == 1:
            if parts[0] in self._rooms:
                return _DIRECTORY
            if parts[0] == b"status":
                text = json.dumps(self._status(), indent=2, sort_keys=True).encode() + b"\n"
                return ControlEntry("file", len(text), read=partial(_give, text))
            if parts[0] == b"catalogue" and self._state.held is not None:
                held = self._state.held
                return ControlEntry(
                    "file", len(held.document), held.catalogue.date_s, read=partial(_give, held.document)
                )
        elif len(parts) == 2 and parts[0] in self._rooms:
            return self._rooms[parts[0]][1](parts[1])
        return None

    def _ref(self, parts: Parts) -> ControlEntry | None:
        name = b"/".join(parts)
        oid = self._packs.news.refs.get(name)
        if oid is not None:
            # From .gtfs/refs/heads/main up to the root of the mount.
            target = b"../" * len(parts) + oid.hex().encode() + b".pack"
            return ControlEntry("link", len(target), target=target)
        return _DIRECTORY if len(parts) == 1 or self._refs_below(name + b"/") else None

    def _refs_below(self, prefix: bytes) -> Sequence[bytes]:
        """The names of refs that begin with ``prefix``, which ends in a slash; all are looked at once, then few."""
        refs = self._packs.news.refs
        if refs is not self._sorted_of:
            self._sorted_of, self._sorted = refs, sorted(refs)
        after = prefix[:-1] + bytes([prefix[-1] + 1])
        return self._sorted[bisect_left(self._sorted, prefix) : bisect_left(self._sorted, after)]

    def _files(self, directory: Path) -> list[bytes]:
        return sorted(bytes(p.name, "utf-8", "surrogateescape") for p in directory.iterdir())

    def _file(self, path: Path) -> ControlEntry | None:
        try:
            st = path.stat()
        except OSError:
            return None
        return ControlEntry("file", st.st_size, int(st.st_mtime), path=path)

    def _chunks(self) -> Mapping[str, bytes]:
        """Those that the held catalogue names, by digest."""
        tree = None if self._state.held is None else self._state.held.catalogue.tree
        return {} if tree is None else tree.data

    def _chunk(self, name: bytes) -> ControlEntry | None:
        data, held = self._chunks().get(name.decode("ascii", "replace")), self._state.held
        if data is None or held is None:
            return None
        return ControlEntry("file", len(data), held.catalogue.date_s, read=partial(_give, data))

    def _quarantined(self, name: bytes) -> ControlEntry | None:
        return self._file(self._state.quarantine.directory / name.decode("utf-8", "surrogateescape"))

    def _reel_names(self) -> list[bytes]:
        return [(row.name + REEL_SUFFIX).encode() for row in self._state.index.reels.all()]

    def _reel_row(self, name: bytes) -> ReelRow | None:
        try:
            return self._state.index.reels.by_name(parse_reel_name(name.decode("ascii", "replace")))
        except BadId:
            return None

    def _reel(self, name: bytes) -> ControlEntry | None:
        row = self._reel_row(name.removesuffix(REEL_SUFFIX.encode())) if name.endswith(REEL_SUFFIX.encode()) else None
        if row is None:
            return None
        # A cache may let go of any piece at any time: its readers must not hold the file itself.
        if row.is_whole and not self._packs.is_cache:
            return self._file(self._state.layout.reel(row.name))
        return ControlEntry("file", row.size, read_at=partial(self._read_reel, row))

    def _torrent(self, name: bytes) -> ControlEntry | None:
        """``<reel>.reel.torrent`` as it lies here; ``<oid>.pack.torrent`` made on look-up."""
        stem = name.removesuffix(_TORRENT)
        if stem == name:
            return None
        if stem.endswith(REEL_SUFFIX.encode()):
            row = self._reel_row(stem.removesuffix(REEL_SUFFIX.encode()))
            kept = None if row is None else self._file(self._state.layout.metainfo(row.name))
            if row is None or kept is None or kept.path is None:
                return None
            size = kept.size + len(self._dressed(b"")) - len(wrap_info(b""))
            return ControlEntry("file", size, kept.time_s, read=partial(self._reel_metainfo, kept.path))
        try:
            oid = parse_object_id(stem.removesuffix(b".pack"))
        except BadId:
            return None
        info = self._packs.info(oid)
        if info is None:
            return None
        size = metainfo_bytes(oid.hex() + ".pack", info.size) + len(self._dressed(b"", ())) - len(wrap_info(b""))
        return ControlEntry("file", size, info.time_s, read=partial(self._pack_metainfo, oid, info.size))

    async def _pack_metainfo(self, oid: ObjectId, size: int) -> bytes:
        metainfo = await pack_metainfo(self._packs, oid, size)
        return self._dressed(info_of(metainfo), ())

    async def _reel_metainfo(self, path: Path) -> bytes:
        metainfo = await trio.to_thread.run_sync(path.read_bytes)
        return self._dressed(info_of(metainfo))

    def _dressed(self, info: bytes, web_seeds: Sequence[str] | None = None) -> bytes:
        """A torrent that tells other clients where to look; its infohash is that of ``info`` alone."""
        held = self._state.held
        trackers = [*self._trackers, *(held.catalogue.trackers if held is not None else ())]
        if web_seeds is None:
            web_seeds = held.catalogue.web_seeds if held is not None else ()
        return with_trackers(info, trackers, web_seeds)

    def _signoff(self, name: bytes) -> ControlEntry | None:
        try:
            oid = parse_object_id(name.removesuffix(_ASC))
        except BadId:
            return None
        signoff = self._state.index.signoffs.get(oid)
        return None if signoff is None else self._file(self._state.layout.signoff(signoff.file))


async def _give(data: bytes) -> bytes:
    return data
