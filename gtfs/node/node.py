# SPDX-License-Identifier: GPL-3.0-or-later
"""Wires one repository: state, swarm, reads, the way in, the way out; owns the nursery and the shutdown order.

Trio loop. The mount is wired by the caller, to whom `Node` gives a PackSource, a sink and the control directory.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trio

from gtfs.catalogue.accept import FirstTrust
from gtfs.errors import GtfsError
from gtfs.ids import ObjectId
from gtfs.ingest.refmoves import reassert
from gtfs.mount.tree import NotLocal
from gtfs.node.cache import Cache
from gtfs.node.control import Tell, answer_task, listen
from gtfs.node.copied import take_copied
from gtfs.node.describe import describe_progress, describe_published, describe_state, describe_sync
from gtfs.node.follow import Follower, Progress, SyncReport
from gtfs.node.handout import hand_out
from gtfs.node.mending import look_at_git
from gtfs.node.nursery import cancelled, open_flat_nursery
from gtfs.node.pointing import Pointing
from gtfs.node.publish import publish_now
from gtfs.node.reels import Reels
from gtfs.node.shelf import Shelf
from gtfs.node.sink import Sink
from gtfs.node.state import State
from gtfs.node.store import Store
from gtfs.node.traffic import describe_connections, describe_share
from gtfs.node.upkeep import Upkeep
from gtfs.reel.index import ReelRow
from gtfs.repo.history import OWN_REFS, read_refs
from gtfs.repo.watch import RefsWatch
from gtfs.swarm.feeds import Feed, FeedError, FeedPoller, open_client
from gtfs.swarm.session import Session, SwarmOptions, open_session

log = logging.getLogger(__name__)

_SHOW_S = 1.0  # rates and peers are shown as often even when nothing comes
_RETRY_S = 10.0  # after a catalogue could not be followed
_REFS_S = 1.0  # how often refs that plain git moved are noticed
_REFS_LEAST_S = 0.5  # between two looks, however much is going on
_REFS_AGAIN_S = 30.0  # and they are read though nothing looks changed: not everybody writes them as git does
_TOLD_AT_ONCE = 1000  # new packs of which `on_packs_added` hears; of a longer list, the last


@dataclass(frozen=True)
class NodeOptions:
    """How a node runs; times in seconds. ``swarm`` None: offline."""

    swarm: SwarmOptions | None = field(default_factory=SwarmOptions)
    feeds: tuple[Feed, ...] = ()
    first: FirstTrust = field(default_factory=FirstTrust)
    read_timeout_s: float = 60.0
    poll_s: float = 300.0
    table_s: float = 30.0
    prefetch: bool = False
    cache_bytes: int | None = None  # of reels on disk, for a mirror; None: all of them
    proxy: str | None = None  # for feeds, a URL
    jobs: int | None = None  # processes that encode; None: one for each core


class Node:
    """A running node; made by `open_node`."""

    def __init__(self, state: State, session: Session | None, client: httpx.AsyncClient, options: NodeOptions) -> None:
        self.state = state
        self.options = options
        self.session = session
        self._writing = trio.CapacityLimiter(1)
        self.reels = Reels(state, session, options.read_timeout_s, self._writing, client)
        self.store = Store(state, self.reels)
        trackers = options.swarm.trackers if options.swarm is not None else ()
        self.shelf = Shelf(state, self.store, self.status, self._read_reel, self._take_copied, trackers)
        self.sink = Sink(state, self._writing, self._packs_changed)
        self.follower = Follower(state, self.reels, self.store, self._writing, options.first, self._came_in)
        self.upkeep = Upkeep(state.repository)
        self.pointing = Pointing(state, session)
        self.poller = FeedPoller(
            options.feeds, self._take, client, follow_pointer=self.pointing.follow, interval_s=options.poll_s
        )
        self.reels.forget = self.store.forget_reels
        self.store.on_lost = lambda: self._news.set()
        self.on_packs_changed: Callable[[list[ObjectId]], None] = lambda _oids: None
        self.on_packs_added: Callable[[list[ObjectId]], None] = lambda _oids: None
        self._last_row = state.index.last_row()
        self._takes_up = False
        self._refs: dict[bytes, ObjectId] = {}
        self._refs_stale = trio.Event()
        self._news = trio.Event()
        self._keep_whole = options.prefetch
        self._refusals: dict[str, tuple[str, int]] = {}  # why a feed's document was not taken, and its exit code
        if options.prefetch:
            self._news.set()
        self._connections: list[dict[str, object]] = []  # as of the last time that somebody asked
        self._cache: Cache | None = None
        if options.cache_bytes is not None and session is not None:
            forget = self.store.forget_reels
            self.shelf.is_cache = True
            self._cache = Cache(state, self.reels, session, self._writing, forget, options.cache_bytes)

    def _changed(self) -> None:
        self.store.forget_reels()
        self._refs_stale.set()
        self.sink.look_again()
        last_row = self.state.index.last_row()
        if last_row > self._last_row:
            after = max(self._last_row, last_row - _TOLD_AT_ONCE)
            self._last_row = last_row
            self.on_packs_added([oid for _, oid, *_ in self.state.index.listed_after(after, _TOLD_AT_ONCE)])

    def _came_in(self) -> None:
        self._changed()
        self.upkeep.wake()

    def _packs_changed(self, oids: list[ObjectId]) -> None:
        self._came_in()
        self.on_packs_changed(oids)

    async def _read_reel(self, row: ReelRow, offset: int, length: int) -> bytes:
        torrent = self.reels.reel(row.id)
        if torrent is None:
            raise NotLocal
        return await self.reels.read(torrent, offset, length, 0)

    async def take_up(self, begin: Callable[[int], None], progress: Callable[[int, int], None]) -> None:
        """Encode what plain git brought since the last time, and from now on whenever it moves a ref."""
        self._takes_up = True

        def work() -> None:
            self.state.take_up(jobs=self.options.jobs, stop=cancelled, begin=begin, progress=progress)

        await trio.to_thread.run_sync(work, limiter=self._writing)
        self._changed()

    async def _take(self, feed: Feed, document: bytes) -> None:
        """What a feed gave: judged, and acted on by `_follow_task` when it is news."""
        try:
            await self._take_catalogue(document)
        except GtfsError as e:
            refusal = (str(e), e.exit_code)
            if self._refusals.get(feed.text) != refusal:  # it is asked for again and again
                log.warning("feed %s: %s", feed.text, e)
            self._refusals[feed.text] = refusal
            raise

    async def _take_catalogue(self, document: bytes) -> None:
        followed = self._has_followed()
        if await self.follower.take_document(document):
            self.pointing.renew()
            self._keep_whole = self._keep_whole or followed
            self._news.set()

    async def _take_copied(self, document: bytes) -> None:
        await take_copied(self.state, self.reels, self._take_catalogue, document)

    async def _follow_task(self) -> None:
        """Fetch what a newer catalogue brings: its tables, and all of it on a mirror that was whole before."""
        said: str | None = None
        if self.follower.lacks_tables():
            self._news.set()
        while True:
            await self._news.wait()
            self._news = trio.Event()
            trouble = await self._follow()
            if trouble is None:
                said = None
                continue
            if trouble != said:  # it is tried again and again
                log.warning("the catalogue cannot be followed yet: %s", trouble)
            said = trouble
            with trio.move_on_after(_RETRY_S):
                await self._news.wait()
            self._news.set()

    async def _follow(self) -> str | None:
        """One try; gives what hindered it."""
        try:
            await self.reels.mend()
            failed = await self.follower.bring_tables(self.options.table_s)
            if self._keep_whole:
                failed = (await self.sync(lambda _p: None)).missing
            if failed:
                return str(next(iter(failed.values())))
        except (GtfsError, OSError) as e:
            return str(e)
        return None

    def _has_followed(self) -> bool:
        held = self.state.held
        return held is not None and self.state.index.held_refs() == held.catalogue.refs

    async def publish(self, force: bool, jobs: int | None, tell: Tell) -> dict[str, Any]:
        """Publish what the refs say; the new reels are seeded at once."""
        total = [0]

        def work() -> dict[str, Any]:
            def begin(n: int) -> None:
                total[0] = n

            def progress(done: int, size: int) -> None:
                trio.from_thread.run_sync(tell, {"packs": done, "of": total[0], "bytes": size})

            done = publish_now(self.state, force=force, jobs=jobs, stop=cancelled, begin=begin, progress=progress)
            return describe_published(self.state, done.version, done.is_new, done.packs)

        result = await trio.to_thread.run_sync(work, limiter=self._writing)
        self._changed()
        self.pointing.renew()
        await self.reels.update()
        return result

    async def sync(self, tell: Callable[[Progress], None]) -> SyncReport:
        """Fetch, let in and move refs, to the end."""
        # Longer than a read waits: here peers may still be looking for each other.
        return await self.follower.sync(tell, stall_s=2 * self.options.read_timeout_s)

    async def _asked_publish(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        return await self.publish(bool(request.get("force")), request.get("jobs") or self.options.jobs, tell)

    async def sync_once(self, tell: Tell) -> dict[str, Any]:
        """Ask the feeds, then sync; what `gtfs sync` shows."""
        before = await self._received_bytes()
        await self.poller.poll_once()
        last: dict[str, Any] = {}

        def show(p: Progress | None) -> None:
            if p is not None:
                last.update(describe_progress(p))
            if last and self.session is not None:
                now = self.session.statistics()
                last.update(peers=now.peers, received=now.downloaded_bytes - before)
            if last:
                tell(dict(last))

        async def show_task() -> None:
            while True:
                await trio.sleep(_SHOW_S)
                show(None)

        async with open_flat_nursery() as nursery:
            nursery.start_soon(show_task)
            if self._cache is not None:
                nursery.start_soon(self._cache.run_task)
            report = await self.sync(show)
            nursery.cancel_scope.cancel()
        if self._cache is not None:
            await self._cache.trim()
        fetched = await self._received_bytes() - before
        return {**describe_sync(report), "fetched": fetched, "feeds": self._feeds()}

    async def _received_bytes(self) -> int:
        return 0 if self.session is None else (await self.session.refresh()).downloaded_bytes

    async def _asked_sync(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        return await self.sync_once(tell)

    async def _asked_torrents(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        return await hand_out(
            self.state, self.store, Path(request["out"]), request["trackers"], with_packs=request["packs"], tell=tell
        )

    async def _asked_status(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        await self.reels.refresh()
        if self.session is not None:
            await self.session.refresh()
        self._connections = await describe_connections(self.reels.torrents())
        return self.status()

    async def _refs_task(self) -> None:
        watch, read_at, said = RefsWatch(self.state.repository), -math.inf, ""
        while True:
            self._refs_stale = trio.Event()
            try:
                moved = await trio.to_thread.run_sync(watch.changed)
                if moved or trio.current_time() - read_at > _REFS_AGAIN_S:
                    read_at = trio.current_time()
                    await self._read_refs()
                said = ""
            except (GtfsError, OSError) as e:
                read_at = -math.inf
                if str(e) != said:  # it is tried again and again
                    log.warning("what git has brought cannot be shown yet: %s", e)
                said = str(e)
            await trio.sleep(_REFS_LEAST_S if not said else _RETRY_S)
            with trio.move_on_after(_REFS_S):
                await self._refs_stale.wait()

    async def _read_refs(self) -> None:
        """Show where refs are, and what they reach: so no link below ``.gtfs/refs`` dangles."""
        found = await trio.to_thread.run_sync(read_refs, self.state.repository)
        refs = {r.name: r.oid for r in found if not r.name.startswith(OWN_REFS)}
        if refs == self._refs:
            return
        if self._takes_up:
            take_up = partial(self.state.take_up, jobs=self.options.jobs, retry=False, stop=cancelled)
            if (await trio.to_thread.run_sync(take_up, limiter=self._writing)).made:
                self._changed()
        self._refs = refs
        self.shelf.show_refs(refs)

    def _feeds(self) -> list[dict[str, Any]]:
        found = []
        for r in self.poller.reports():
            reason, code = self._refusals.get(r.feed, (None, 0))
            code = 0 if r.error is None else code if r.error == reason else FeedError.exit_code
            found.append(
                {"feed": r.feed, "asked": r.asked_s, "answered": r.answered_s, "error": r.error,
                 "exit_code": code, "failures": r.failures}
            )  # fmt: skip
        return found

    def status(self) -> dict[str, Any]:
        """The node as gtfs(1) documents it under ``status``; from memory and the index, at once."""
        out = describe_state(self.state)
        statistics = self.session.statistics() if self.session else None
        out["swarm"] = {
            "port": self.session.port if self.session else None,
            "peers": statistics.peers if statistics else 0,
            "downloaded": statistics.downloaded_bytes if statistics else 0,
            "uploaded": statistics.uploaded_bytes if statistics else 0,
            "share": describe_share(self.reels.torrents()),
            "connections": self._connections,
            "reels": self.reels.traffic(),
        }
        if self._cache is not None:
            out["swarm"]["cache"] = {"limit": self.options.cache_bytes, "used": self._cache.local_bytes()}
        out["feeds"] = self._feeds()
        out["pointer"] = self.pointing.status()
        out["incoming"] = self.sink.statistics()
        out["running"] = True
        return out

    async def run_task(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Everything that goes on while the node lives."""
        handlers = {"publish": self._asked_publish, "sync": self._asked_sync, "status": self._asked_status}
        handlers["torrents"] = self._asked_torrents
        await self.reels.update()  # a catalogue may have been taken without
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_task, listen(self.state.repository.state), handlers)
            nursery.start_soon(self._refs_task)
            nursery.start_soon(self.sink.ingest_task)
            nursery.start_soon(self._follow_task)
            nursery.start_soon(self.poller.poll_task)
            nursery.start_soon(self.pointing.announce_task)
            nursery.start_soon(self.upkeep.run_task)
            if self._cache is not None:
                nursery.start_soon(self._cache.run_task)
            task_status.started()


@asynccontextmanager
async def open_node(state: State, options: NodeOptions, session: Session | None = None) -> AsyncIterator[Node]:
    """A node on an open state: refs re-asserted, session up, its whole reels seeded; its tasks are the caller's to run.

    Nodes of one process share one ``session``; without one the node opens its own. Raises `ListenRefused` for a port
    that is taken.
    """
    if state.config.sign_key() is None:  # a publisher's refs are what its owner makes them
        try:
            await trio.to_thread.run_sync(look_at_git, state)
        except (GtfsError, OSError) as e:  # a sync tries it again
            log.error("what git may have lost was not looked for: %s", e)
        await trio.to_thread.run_sync(reassert, state.repository, state.index)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(options.proxy))
        if options.swarm is not None and session is None:
            session = await stack.enter_async_context(open_session(options.swarm))
        node = Node(state, session, client, options)
        await node.reels.mend()
        await node.reels.update()
        yield node
