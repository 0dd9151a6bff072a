# SPDX-License-Identifier: GPL-3.0-or-later
"""The chunks that a catalogue names, fetched from beside it or from the swarm, and checked (design.md §5, §6).

Whoever asks has found the catalogue's signatures good; it counts only once nothing is missing. Trio loop.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

import trio

from gtfs.catalogue.document import BadCatalogue
from gtfs.catalogue.refchunks import ChunksMissing, check_chunk, missing_chunks, places_of
from gtfs.catalogue.reftree import CHUNKS_FILE, LEVELS, Chunk, Top
from gtfs.errors import GtfsError
from gtfs.feed import DhtFeed, Feed, FileFeed, HttpFeed
from gtfs.metainfo import BadMetainfo, piece_length
from gtfs.node.nursery import open_flat_nursery
from gtfs.state.belief import Belief, believe
from gtfs.state.trustgiven import TrustGiven
from gtfs.swarm.feeds import FeedError, fetch_chunk, patience_s
from gtfs.swarm.httpget import Client
from gtfs.swarm.leaving import leave
from gtfs.swarm.pieces import SwarmError, SwarmTimeout
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import TorrentSpec

AT_ONCE: Final = 8
MANY: Final = 64  # chunks, with which the whole torrent is fetched
READ_S = 60.0  # for what one chunk lies in, of a torrent


class Chunks(Protocol):
    """Where chunks are kept; called in threads."""

    def get(self, chunk: Chunk) -> bytes | None:
        """What is kept under this name, unchecked; None if nothing is."""

    def put(self, chunk: Chunk, data: bytes) -> None:
        """Keep it; raises OSError."""


class ChunksInMemory:
    """Those of a first catalogue, before there is a repository to keep them in."""

    def __init__(self) -> None:
        self._data: dict[Chunk, bytes] = {}

    def get(self, chunk: Chunk) -> bytes | None:
        """See `Chunks`."""
        return self._data.get(chunk)

    def put(self, chunk: Chunk, data: bytes) -> None:
        """See `Chunks`."""
        self._data[chunk] = data


class ChunkFetcher:
    """Brings chunks into one place. ``directory`` is made for a torrent, and removed; without ``session`` none is."""

    def __init__(self, chunks: Chunks, client: Client, session: Session | None, directory: Path) -> None:
        self._chunks = chunks
        self._client = client
        self._session = session
        self._directory = directory
        self._turn = trio.Lock()
        self._threads: dict[Feed, trio.CapacityLimiter] = defaultdict(lambda: trio.CapacityLimiter(AT_ONCE))

    async def taking(self, document: bytes, feeds: Iterable[Feed], take: Callable[[bytes], Awaitable[object]]) -> None:
        """Let ``take`` have a document, once more when chunks are missing that its signers name and `bring` brings.

        Raises what either does.
        """
        try:
            await take(document)
        except ChunksMissing as missing:
            with contextlib.suppress(BadCatalogue):  # which the second look finds, too, and acts on
                await self.bring(missing, feeds)
            await take(document)

    async def bring(self, wanted: ChunksMissing, feeds: Iterable[Feed]) -> None:
        """Have all chunks of a catalogue here: from the first of ``feeds`` that has them, else from the swarm.

        Each has its time (`patience_s`), as others wait for their turn. Raises what the last one said, a `GtfsError` or
        OSError; then what came stays for the next time.
        """
        trouble: GtfsError = wanted
        within_s = patience_s(wanted.top.size)
        async with self._turn:
            for feed in feeds:
                if isinstance(feed, DhtFeed):
                    continue
                try:
                    with trio.move_on_after(within_s):
                        await self._from_feed(feed, wanted.top)
                        return
                except FeedError as error:
                    trouble = error
                else:
                    trouble = FeedError(feed.text, f"its catalogue's chunks did not all come within {within_s:.0f} s")
            if self._session is None or wanted.top.infohash is None:
                raise trouble
            with trio.move_on_after(within_s):
                await self._from_swarm(self._session, wanted.top)
                return
            raise SwarmTimeout(f"the catalogue's chunks did not all come from peers within {within_s:.0f} s")

    async def _missing(self, top: Top) -> list[Chunk]:
        return await trio.to_thread.run_sync(missing_chunks, top, self._chunks.get)

    async def _from_feed(self, feed: FileFeed | HttpFeed, top: Top) -> None:
        some = trio.CapacityLimiter(AT_ONCE)

        async def bring(chunk: Chunk) -> None:
            async with some:
                data = await fetch_chunk(feed, chunk.digest, chunk.size, self._client, self._threads[feed])
                try:
                    check_chunk(chunk, data)
                except BadCatalogue as error:
                    raise FeedError(feed.text, error.reason) from None
                await trio.to_thread.run_sync(self._chunks.put, chunk, data)

        for _ in range(LEVELS + 1):  # which is as many levels as there can be
            missing = await self._missing(top)
            async with open_flat_nursery() as nursery:
                for chunk in missing:
                    nursery.start_soon(bring, chunk)

    async def _from_swarm(self, session: Session, top: Top) -> None:
        """Only what is missing is read of the one file in which all of them are; raises `SwarmError`."""
        spec = chunks_spec(self._directory, top, (), is_whole=False)
        await trio.to_thread.run_sync(lambda: self._directory.mkdir(parents=True, exist_ok=True))
        try:
            torrent = await session.add(spec)
            try:
                for _ in range(LEVELS + 1):
                    missing = await self._missing(top)
                    if len(missing) > MANY:
                        await torrent.fetch_all(stall_s=READ_S)
                    places = await trio.to_thread.run_sync(places_of, top, self._chunks.get)
                    for chunk in missing:
                        data = await torrent.read(places[chunk], chunk.size, deadline_s=READ_S)
                        check_chunk(chunk, data)
                        await trio.to_thread.run_sync(self._chunks.put, chunk, data)
            finally:
                with trio.CancelScope(shield=True):
                    await leave(session, spec.infohash, spec.directory)
        except BadMetainfo as error:
            raise SwarmError(f"the torrent of the catalogue's chunks: {error}") from None
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(shutil.rmtree, self._directory, True)


def chunks_spec(directory: Path, top: Top, trackers: tuple[str, ...], *, is_whole: bool) -> TorrentSpec:
    """The torrent of a catalogue's chunks."""
    assert top.infohash is not None
    return TorrentSpec(
        file_name=CHUNKS_FILE, infohash=top.infohash, size=top.size, piece_length=piece_length(top.size),
        directory=directory, metainfo=directory / "torrent", resume=directory / "resume", complete=is_whole,
        trackers=trackers,
    )  # fmt: skip


async def believe_from(
    feed: Feed,
    given: TrustGiven,
    document: bytes,
    client: Client,
    session: Session | None,
    directory: Path,
) -> Belief:
    """A first catalogue that a feed gave, believed, with its chunks. Raises what `believe` and the feed do."""
    chunks = ChunksInMemory()
    try:
        return await trio.to_thread.run_sync(believe, given, document, chunks.get)
    except ChunksMissing as missing:
        await ChunkFetcher(chunks, client, session, directory).bring(missing, [feed])
    return await trio.to_thread.run_sync(believe, given, document, chunks.get)
