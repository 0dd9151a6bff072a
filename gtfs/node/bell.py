# SPDX-License-Identifier: GPL-3.0-or-later
"""News at once: a publisher rings when it has a newer catalogue, and who hears it asks its feeds (design.md §11).

What the feeds then give is judged like any document; a bell is never more than a reason to ask. Trio loop.
"""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import trio

from gtfs.backoff import Backoff
from gtfs.durable import replace_file
from gtfs.errors import GtfsError
from gtfs.ids import InfoHash
from gtfs.layout import Layout
from gtfs.node.saidonce import SaidOnce
from gtfs.state.bell import BELL_BYTES, BELL_FILE, PIECE_BYTES, make_bell, next_piece, piece_of
from gtfs.state.feedkey import FeedKey, read_feed_key
from gtfs.state.state import State
from gtfs.swarm.bells import hear, ring
from gtfs.swarm.leaving import leave, leave_below
from gtfs.swarm.pieces import SessionClosed
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import Torrent, TorrentSpec

log = logging.getLogger(__name__)

_AGAIN_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)  # a feed may be behind its publisher: an upload, a cache
_SPREAD_S: Final = 0.25  # over which those who hear it at once ask a feed
_REST_S: Final = 30.0  # after a failure, before it is listened to again; twice as long after each further one
_LONGEST_S: Final = 3600.0
_KEPT: Final = 2  # bells: the newest, and the one before, for who is late at the turn


class BellTold(NamedTuple):
    """What a held statement says of its bell."""

    repository: str  # its id, or the collection's
    version: int
    bell: InfoHash
    trackers: tuple[str, ...] = ()


class BellOwner(Protocol):
    """Who holds statements with bells: a repository's state, or what is held of a collection."""

    @property
    def layout(self) -> Layout:
        """Where bells lie, and the key of a publisher's own."""

    def told(self) -> BellTold | None:
        """What the held one says, None where there is no bell."""

    def is_publisher(self) -> bool:
        """Whether it may be the one who rings."""


class StateBell:
    """A repository's."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def layout(self) -> Layout:
        """See `BellOwner`."""
        return self._state.layout

    def told(self) -> BellTold | None:
        """See `BellOwner`; in a clone it is git that asks."""
        held = None if self._state.held is None else self._state.held.catalogue
        if held is None or held.bell is None or self._state.config.is_clone():
            return None
        return BellTold(held.repository, held.version, held.bell, held.trackers)

    def is_publisher(self) -> bool:
        """See `BellOwner`."""
        return self._state.config.sign_key() is not None


class Bell:
    """A node's part in it, or a daemon's in a collection's; ``ask`` lets its feeds be asked at once."""

    def __init__(
        self, owner: BellOwner, session: Session | None, ask: Callable[[], None], *, is_quiet: bool = False
    ) -> None:
        self._is_quiet = is_quiet
        self._owner = owner
        self._session = session if session is not None and session.options.bells else None
        self._ask = ask
        self._news = trio.Event()
        self._entered: list[InfoHash] = []
        self._listened: Torrent | None = None
        self._heard: int | None = None  # the last version
        self._said = SaidOnce(log)
        self._rests = Backoff(_REST_S, _LONGEST_S)

    def renew(self) -> None:
        """There may be another catalogue."""
        self._news.set()

    def status(self) -> dict[str, Any]:
        """What gtfs(1) documents under ``bell``."""
        torrent = self._torrent()
        return {"heard": self._heard, "peers": 0 if torrent is None else torrent.peers()}

    def is_silent_after(self, version: int) -> bool:
        """Whether somebody is there who would tell of a later version than this, and has told of none.

        What the pieces are to be comes from the publisher, by whomever: without it nothing is heard of anybody.
        """
        torrent = self._listened
        is_heard = torrent is not None and torrent.is_ready() and torrent.peers() > 0
        return is_heard and (self._heard is None or self._heard <= version)

    def _torrent(self) -> Torrent | None:
        last = self._entered[-1] if self._entered else None
        return None if self._session is None or last is None else self._session.torrent(last)

    async def run_task(self) -> None:
        """Ring, or listen, as long as the node runs."""
        session = self._session
        if session is None:
            return
        while True:
            self._news = trio.Event()
            told = self._owner.told()
            async with trio.open_nursery() as nursery:
                if told is not None:
                    nursery.start_soon(self._take_part, session, told)
                await self._news.wait()
                nursery.cancel_scope.cancel()

    async def leave(self) -> None:
        """Take its torrents out of a session that goes on, once `run_task` has ended."""
        if self._session is not None:
            await leave_below(self._session, self._owner.layout.bells)

    async def _take_part(self, session: Session, told: BellTold) -> None:
        version = told.version
        try:
            own = await trio.to_thread.run_sync(self._own, told)
            if own is not None and version > 1:
                await self._ring(session, told, own[0])
            torrent = await self._enter(session, told, told.bell, None if own is None else own[1])
            self._listened = torrent
            self._rests.is_over()
            try:
                async with contextlib.aclosing(hear(torrent, next_piece(version))) as pieces:
                    async for piece in pieces:
                        await self._on_heard(version + 1 + piece - next_piece(version))
            except SessionClosed:
                self.renew()  # it lay in the place of another one of this process, which has ended
        except (GtfsError, OSError) as error:
            self._listened = None
            self._said.warn(f"news after version {version} come by asking alone", error)
            await trio.sleep(self._rests.next_s())
            self.renew()
        finally:
            self._listened = None

    @staticmethod
    def _made(key: FeedKey, told: BellTold, version: int) -> tuple[bytes, InfoHash]:
        return make_bell(key, told.repository, version)

    def _own(self, told: BellTold) -> tuple[FeedKey, bytes] | None:
        """The secret behind the bell of a statement, and its torrent, where this node has it."""
        if not self._owner.is_publisher():
            return None
        key = read_feed_key(self._owner.layout.bell_key)
        if key is None:
            return None
        metainfo, bell = self._made(key, told, told.version)
        return (key, metainfo) if bell == told.bell else None

    async def _enter(self, session: Session, told: BellTold, bell: InfoHash, metainfo: bytes | None) -> Torrent:
        """The bell's torrent in the session; those before the last but one leave it and the disk."""
        directory = self._owner.layout.bell(bell)
        spec = TorrentSpec(
            file_name=BELL_FILE, infohash=bell, size=BELL_BYTES, piece_length=PIECE_BYTES, directory=directory,
            metainfo=directory / "torrent", resume=directory / "resume", awaited=True, is_quiet=self._is_quiet,
            trackers=told.trackers,
        )  # fmt: skip

        def prepare() -> None:
            for each in (directory.parent, directory):
                each.mkdir(mode=0o700, exist_ok=True)
            if metainfo is not None:
                replace_file(spec.metainfo, metainfo)

        if bell in self._entered:
            self._entered.remove(bell)
        else:
            await trio.to_thread.run_sync(prepare)
        torrent = await session.add(spec)
        self._entered.append(bell)
        for old in self._entered[:-_KEPT]:
            await leave(session, old, self._owner.layout.bell(old))
        del self._entered[:-_KEPT]
        await trio.to_thread.run_sync(self._sweep)
        return torrent

    def _sweep(self) -> None:
        kept = {self._owner.layout.bell(bell) for bell in self._entered}
        for path in self._owner.layout.bells.iterdir():
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)

    async def _ring(self, session: Session, told: BellTold, key: FeedKey) -> None:
        """Tell those who listen to the bell of the version before that there is this one."""
        metainfo, bell = await trio.to_thread.run_sync(self._made, key, told, told.version - 1)
        torrent = await self._enter(session, told, bell, metainfo)
        await torrent.milestones.wait_ready()
        ring(torrent, next_piece(told.version - 1), piece_of(key, told.repository, told.version))

    async def _on_heard(self, version: int) -> None:
        """Ask until the version is held, which ends this, or feeds have had their time."""
        self._heard = version
        log.info("there is news: version %d", version)
        await trio.sleep(random.uniform(0, _SPREAD_S))  # noqa: S311  (no secret)
        for wait_s in _AGAIN_S:
            self._ask()
            await trio.sleep(wait_s)
