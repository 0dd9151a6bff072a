# SPDX-License-Identifier: GPL-3.0-or-later
"""The DHT as a feed: a signed pointer leads to the torrent of a catalogue, which is judged like any other (§6).

A publisher puts the pointer, and every node that holds the catalogue seeds it and keeps the pointer alive. The torrent
is a single file of a fixed name, so that its infohash follows from the catalogue's bytes. Trio loop.
"""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from gtfs.catalogue.accept import Held
from gtfs.catalogue.reftree import CHUNKS_FILE
from gtfs.durable import replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.feed import SALT_BYTES, DhtFeed
from gtfs.ids import InfoHash
from gtfs.metainfo import BadMetainfo, metainfo_of, parse_info, piece_length, wrap_info
from gtfs.node.chunks import chunks_spec
from gtfs.repo.repository import Repository
from gtfs.state.config import BadConfig, Config
from gtfs.state.feedkey import BadFeedKey, FeedKey, address, make_feed_key, read_feed_key
from gtfs.state.private import check_private
from gtfs.state.state import State
from gtfs.swarm.feeds import LIMIT_BYTES, FeedAnswer, FeedError, Validators, patience_s
from gtfs.swarm.leaving import leave
from gtfs.swarm.pieces import SwarmError
from gtfs.swarm.pointers import Pointer, sign_pointer
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import TorrentSpec

log = logging.getLogger(__name__)

CATALOGUE_FILE: Final = "catalogue.asc"  # the name in the torrent of every catalogue
FETCH_S = 60.0
FIRST_S = 90.0  # for the first catalogue of a mirror, while the DHT is still being entered
AGAIN_S = 2.0
EVERY_S = 1800.0  # nodes forget an item after two hours
SPARSE_S = 120.0  # the same while few nodes took it
FEW = 8
JITTER = 0.2


class BadPointer(FeedError):
    """A pointer that leads to no catalogue's torrent."""

    fault = Blame.DATA


class BadChunks(GtfsError):
    """A catalogue that names another torrent than that of its chunks."""

    fault = Blame.DATA

    def __init__(self) -> None:
        super().__init__("the catalogue names another torrent than that of its chunks, which is not seeded from here")


class Unaskable(FeedError):
    """This node has no DHT to ask."""


@dataclass(frozen=True)
class Told:
    """What `PointerKeeper.status` says about the last pointer that was put."""

    key: str | None = None
    version: int | None = None
    nodes: int = 0
    put_s: int | None = None


def make_address(repository: Repository) -> str:
    """A publisher's address, its key made at the first time. Blocking. Raises `BadConfig`, `BadFeedKey`, OSError."""
    check_private(repository.state_directory)
    config = Config(repository)
    name = config.get("name")
    if name is None or config.sign_key() is None:
        raise BadConfig(f"{repository.path} is no publisher's; run: gtfs init {repository.path} --sign-key FINGERPRINT")
    if len(name.encode()) > SALT_BYTES:
        raise BadConfig(f"the name {name} is over the limit of {SALT_BYTES} bytes for an address in the DHT")
    return address(make_feed_key(repository.layout.feed_key).public, name)


def _spec(directory: Path, infohash: InfoHash, size: int, trackers: tuple[str, ...], is_whole: bool) -> TorrentSpec:
    return TorrentSpec(
        file_name=CATALOGUE_FILE, infohash=infohash, size=size, piece_length=piece_length(size), directory=directory,
        metainfo=directory / "torrent", resume=directory / "resume", complete=is_whole, trackers=trackers,
    )  # fmt: skip


async def _ask(session: Session, feed: DhtFeed) -> Pointer:
    if not session.options.dht:
        raise Unaskable(feed.text, "the DHT is switched off")
    if session.options.proxy is not None:
        raise Unaskable(feed.text, "the DHT is not asked through a proxy")
    found = await session.dht.find_pointer(feed.key, feed.salt)
    if found.pointer is None:
        if not found.nodes:
            raise FeedError(feed.text, "no DHT node answers; give one with -o dht_node=HOST:PORT")
        raise FeedError(feed.text, f"none of {found.nodes} DHT nodes has a pointer of this key and name")
    return found.pointer


async def _fetch(session: Session, feed: DhtFeed, infohash: InfoHash, directory: Path) -> bytes:
    """The document behind a pointer; the torrent leaves the session and ``directory`` the disk. Raises `FeedError`."""
    try:
        info = await session.learn_info(infohash, directory / "unchecked", deadline_s=FETCH_S)
        said = await trio.to_thread.run_sync(parse_info, info)
        if said.name != CATALOGUE_FILE or not 0 < said.size <= LIMIT_BYTES:
            raise BadPointer(feed.text, f"it leads to {said.name[:80]!r} of {said.size} bytes, which is no catalogue")
        if said.piece_length != piece_length(said.size):
            raise BadPointer(feed.text, f"it leads to a torrent with pieces of {said.piece_length} bytes")
        spec = _spec(directory, infohash, said.size, (), False)

        def prepare() -> None:
            directory.mkdir(parents=True, exist_ok=True)
            replace_file(spec.metainfo, wrap_info(info))

        await trio.to_thread.run_sync(prepare)
        torrent = await session.add(spec)
        try:
            within_s = patience_s(said.size)
            with trio.move_on_after(within_s) as scope:
                await torrent.fetch_all(stall_s=FETCH_S)
            if scope.cancelled_caught:  # a piece now and then: others wait for their turn
                raise FeedError(feed.text, f"the catalogue did not come from peers within {within_s:.0f} s")
            return await trio.to_thread.run_sync(torrent.spec.path.read_bytes)  # it may be another node's
        finally:
            with trio.CancelScope(shield=True):
                await leave(session, infohash, directory)
    except BadMetainfo as error:
        raise BadPointer(feed.text, str(error)) from None
    except SwarmError as error:
        raise FeedError(feed.text, str(error)) from None
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(shutil.rmtree, directory, True)


async def first_document(feed: DhtFeed, session: Session | None, for_s: float = FIRST_S) -> bytes:
    """The catalogue that a pointer leads to, before there is a node. Raises `FeedError`."""
    if session is None:
        raise Unaskable(feed.text, "this node is offline")
    with tempfile.TemporaryDirectory(prefix="gtfs-") as directory:
        until_s = trio.current_time() + for_s
        while True:
            try:
                pointer = await _ask(session, feed)
                return await _fetch(session, feed, pointer.infohash, Path(directory) / "first")
            except FeedError as error:
                # The DHT is only being entered.
                if isinstance(error, BadPointer | Unaskable) or trio.current_time() > until_s:
                    raise
            await trio.sleep(AGAIN_S)


class PointerKeeper:
    """A node's part in the DHT as a feed."""

    def __init__(self, state: State, session: Session | None) -> None:
        self._state = state
        self._session = session
        self._root = state.layout.pointed
        self._one = trio.Lock()
        self._news = trio.Event()
        self._seeded: list[InfoHash] = []  # the held catalogue's last
        self._chunks: list[InfoHash | None] = []  # theirs
        self._heard: dict[bytes, Pointer] = {}  # by target
        self._told = Told()
        shutil.rmtree(self._root, ignore_errors=True)

    def renew(self) -> None:
        """There may be another catalogue or key: seed and tell."""
        self._news.set()

    def status(self) -> dict[str, Any]:
        """What gtfs(1) documents under ``pointer``."""
        told = self._told
        return {"key": told.key, "version": told.version, "nodes": told.nodes, "put": told.put_s}

    async def follow(self, feed: DhtFeed, known: Validators) -> FeedAnswer:
        """What the pointer leads to, if that is news; see `gtfs.swarm.feeds.fetch`."""
        if self._session is None:
            raise FeedError(feed.text, "this node is offline")
        async with self._one:
            pointer = await _ask(self._session, feed)
            now = (pointer.sequence, bytes(pointer.infohash))
            held = self._state.held
            least = 0 if held is None else held.catalogue.version
            if pointer.sequence < least:
                return FeedAnswer(None, known)  # an old one, from nodes that missed the newer
            self._heard[pointer.target] = pointer
            if now == known.pointer or (held is not None and pointer.infohash == await self._infohash(held)):
                return FeedAnswer(None, Validators(pointer=now))
            document = await _fetch(self._session, feed, pointer.infohash, self._root / pointer.infohash.hex())
            return FeedAnswer(document, Validators(pointer=now))

    async def _infohash(self, held: Held) -> InfoHash:
        document = held.document
        made = await trio.to_thread.run_sync(metainfo_of, CATALOGUE_FILE, len(document), [document])
        return made[1]

    async def _seed(self, session: Session, held: Held) -> InfoHash:
        """Seed the held catalogue, and the one before it for who is late."""
        document = held.document
        metainfo, infohash = await trio.to_thread.run_sync(metainfo_of, CATALOGUE_FILE, len(document), [document])
        self._forget_gone(session)
        if infohash in self._seeded:
            return infohash
        spec = _spec(self._root / infohash.hex(), infohash, len(document), held.catalogue.trackers, True)

        def write() -> None:
            spec.directory.mkdir(parents=True, exist_ok=True)
            spec.path.write_bytes(document)
            spec.metainfo.write_bytes(metainfo)

        async with self._one:
            await trio.to_thread.run_sync(write)
            await session.add(spec)
            await self._seed_chunks(session, held)
        self._seeded.append(infohash)
        self._chunks.append(None if held.catalogue.top is None else held.catalogue.top.infohash)
        for old in {*self._seeded[:-2], *self._chunks[:-2]} - {None, *self._chunks[-2:]}:
            assert old is not None
            await leave(session, old, self._root / old.hex())
            await trio.to_thread.run_sync(shutil.rmtree, self._root / old.hex(), True)
        del self._seeded[:-2], self._chunks[:-2]
        return infohash

    def _forget_gone(self, session: Session) -> None:
        """What lay in the place of another node of this process, which has taken it out."""
        pairs = zip(self._seeded, self._chunks, strict=True)
        here = [pair for pair in pairs if all(session.torrent(each) is not None for each in pair if each is not None)]
        self._seeded, self._chunks = [pair[0] for pair in here], [pair[1] for pair in here]

    async def _seed_chunks(self, session: Session, held: Held) -> None:
        """The chunks that it names, as one file."""
        top, tree = held.catalogue.top, held.catalogue.tree
        if top is None or tree is None or top.infohash is None or top.infohash in self._chunks:
            return
        spec = chunks_spec(self._root / top.infohash.hex(), top, held.catalogue.trackers, is_whole=True)

        def write() -> None:
            metainfo, infohash = metainfo_of(CHUNKS_FILE, spec.size, tree.bytes_in_order())
            if infohash != spec.infohash:
                raise BadChunks
            spec.directory.mkdir(parents=True, exist_ok=True)
            spec.path.write_bytes(b"".join(tree.bytes_in_order()))
            spec.metainfo.write_bytes(metainfo)

        try:
            await trio.to_thread.run_sync(write)
        except BadChunks as error:  # its signer's fault; who finds them beside the catalogue needs none
            log.warning("%s", error)
            return
        await session.add(spec)

    def _pointers(self, held: Held, infohash: InfoHash) -> list[Pointer]:
        """A publisher's own, or those that led a mirror to what it holds."""
        key: FeedKey | None = None
        if self._state.config.sign_key() is not None:
            key = read_feed_key(self._state.layout.feed_key)
        if key is not None and key.public.hex() == held.catalogue.feed_key:
            salts = (held.catalogue.repository.encode(), b"")
            return [sign_pointer(key, salt, held.catalogue.version, infohash) for salt in salts]
        return [pointer for pointer in self._heard.values() if pointer.infohash == infohash]

    async def announce_task(self) -> None:
        """Seed what is held and keep its pointers in the DHT, for ever and at once when `renew` says so."""
        session = self._session
        while session is not None:
            self._news = trio.Event()
            held = self._state.held
            taken = FEW
            if held is not None and held.catalogue.feed_key is not None:
                try:
                    taken = await self._announce(session, held)
                except (BadFeedKey, SwarmError, OSError) as error:
                    taken = 0
                    log.warning("the catalogue's pointer was not put: %s", error)
            wait_s = EVERY_S if taken >= FEW else SPARSE_S
            with trio.move_on_after(wait_s * random.uniform(1 - JITTER, 1 + JITTER)):  # noqa: S311  (no secret)
                await self._news.wait()

    async def _announce(self, session: Session, held: Held) -> int:
        """How many nodes took the pointers that there are, `FEW` where there are none to put."""
        infohash = await self._seed(session, held)
        pointers = self._pointers(held, infohash)
        if not pointers or not session.options.dht or session.options.proxy is not None:
            return FEW
        taken = min([await session.dht.put_pointer(pointer) for pointer in pointers])
        self._told = Told(pointers[0].key.hex(), pointers[0].sequence, taken, int(time.time()) if taken else None)
        log.info("version %d is pointed to at %d DHT nodes", held.catalogue.version, taken)
        return taken
