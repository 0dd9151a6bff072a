# SPDX-License-Identifier: GPL-3.0-or-later
"""Wires one repository: state, swarm, reads, the way in, the way out; owns the nursery and the shutdown order.

Trio loop. The mount is wired by the caller, to whom `Node` gives a PackSource, a sink and the control directory.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from gtfs.catalogue.accept import FirstTrust
from gtfs.catalogue.freshness import looks_like_freshness
from gtfs.errors import GtfsError
from gtfs.feed import Feed, parse_feed
from gtfs.ids import Fingerprint, parse_fingerprint
from gtfs.mount.tree import NotLocal
from gtfs.node.attesters import Attesters, parse_attester
from gtfs.node.bell import Bell, StateBell
from gtfs.node.cache import Cache
from gtfs.node.checks import Checks
from gtfs.node.chunks import ChunkFetcher
from gtfs.node.control import answer_task, listen, seen_after, texts_in
from gtfs.node.dhtfeed import PointerKeeper
from gtfs.node.droppedin import take_copied
from gtfs.node.eventhooks import EventHooks
from gtfs.node.evictions import Evictions
from gtfs.node.follow import Follower
from gtfs.node.foresync import SyncForesight
from gtfs.node.gitnews import GitNews
from gtfs.node.hooks import HookRuns
from gtfs.node.keepup import KeepUp
from gtfs.node.nursery import cancelled, open_flat_nursery
from gtfs.node.options import NodeOptions
from gtfs.node.progress import open_shown_progress
from gtfs.node.publishing import Publishing
from gtfs.node.reasserting import reassert_refs
from gtfs.node.reelfetches import ReelFetches
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.node.reeltraffic import refresh_traffic
from gtfs.node.refusals import Refusals
from gtfs.node.ringnews import RingNews
from gtfs.node.shared import Shared, open_shared
from gtfs.node.status import StateLook, describe_connections, describe_feeds, describe_swarm, describe_sync
from gtfs.node.sync import Progress, SyncReport, has_followed
from gtfs.node.torrentfiles import hand_out
from gtfs.node.troublefacts import trouble_facts
from gtfs.node.upkeep import Upkeep
from gtfs.node.worktrees import Worktrees
from gtfs.reel.index import ReelRow
from gtfs.repo.work import Step, Work
from gtfs.state.control import Tell
from gtfs.state.describe import describe_refreshed
from gtfs.state.divergence import Divergence
from gtfs.state.explain import explain
from gtfs.state.firsttrust import first_trust
from gtfs.state.freshness import Refreshed, draw_freshness, keep_freshness, take_freshness
from gtfs.state.initialise import answer_init
from gtfs.state.rewind import describe_races
from gtfs.state.ring import answer as answer_trust
from gtfs.state.state import State
from gtfs.state.trustgiven import TrustGiven
from gtfs.swarm.feeds import FeedPoller
from gtfs.swarm.leaving import leave_below
from gtfs.swarm.session import Session, open_session
from gtfs.view.controlfiles import ControlFiles
from gtfs.view.news import News
from gtfs.view.packs import Packs
from gtfs.view.writing import Writing
from gtfs.view.written import WrittenPacks

log = logging.getLogger(__name__)


class Node:
    """A running node; made by `open_node`."""

    def __init__(
        self,
        state: State,
        session: Session | None,
        shared: Shared,
        options: NodeOptions,
        first: FirstTrust,
    ) -> None:
        self.state = state
        self.options = options
        self.session = session
        self.news = News(state.index)
        self._writing = Writing(self.news)
        is_cache = options.cache_bytes is not None or (state.config.is_clone() and not options.prefetch)
        evictions = Evictions(is_cache=is_cache and session is not None)
        self.reel_torrents = ReelTorrents(state, session, self._writing, evictions, options)
        self.fetches = ReelFetches(state, self.reel_torrents, self._writing, shared.client)
        self.packs = Packs(state, self.reel_torrents, self.news)
        trackers = () if options.offline else options.swarm.trackers
        self.control_files = ControlFiles(state, self.packs, self.status, self._read_reel, self._take_copied, trackers)
        self.written = WrittenPacks(state, self._writing)
        self.follower = Follower(state, self.fetches, self._writing, first)
        self.divergence = Divergence(state)
        self._state_look = StateLook(state, self.divergence)
        self.ring_news = RingNews(state, self._writing, self._judge_again)
        self.upkeep = Upkeep(state.repository, state.index, self._writing, shared.programs)
        self.worktrees = Worktrees(state, self._writing, self.news.moved, shared.places)
        self.hooks = HookRuns(state, self.news.followed, self.worktrees.look, options.hooks, shared.programs)
        self.keep_up = KeepUp(self.follower, self.reel_torrents, self.packs, self.news, options)
        seen = partial(trouble_facts, state, self.reel_torrents, self.written, self.worktrees, self.keep_up)
        self.event_hooks = EventHooks(state, self.news.moved, seen, options.poll_s, options.hooks, shared)
        self.pointer = PointerKeeper(state, session)
        self.chunks = ChunkFetcher(state.catalogues.chunks, shared.client, session, state.layout.fetched_chunks)
        self.poller = FeedPoller(
            options.feeds, self._take, shared.client, follow_pointer=self.pointer.follow, interval_s=options.poll_s
        )
        self.bell = Bell(StateBell(state), session, self.poller.hurry, is_quiet=options.meet is not None)
        self.attesters = Attesters(
            state, self._writing, options.attesters, shared.client, options.poll_s, self._move_refs
        )
        self.foresight = SyncForesight(state, self.poller, self.chunks, first, shared.client, self.pointer.follow)
        self.publishing = Publishing(state, self._writing, self.poller, self._has_published, options.jobs)
        self.git_news = GitNews(state, self.divergence, self._writing, options.jobs, shared.noticing)
        self._refusals = Refusals(state)
        if options.prefetch:
            self.news.wanted.grow()
        self._started_s = int(time.time())
        self._connections: list[dict[str, object]] = []  # as of the last time that somebody asked
        self._cache: Cache | None = None
        if options.cache_bytes is not None and session is not None:
            self._cache = Cache(state, self.reel_torrents, session, self._writing, options.cache_bytes)

    async def _read_reel(self, row: ReelRow, offset: int, length: int) -> bytes:
        torrent = self.reel_torrents.reel(row.id)
        if torrent is None:
            raise NotLocal
        return await self.reel_torrents.read(torrent, offset, length, 0)

    async def take_up(self, tell: Callable[[Step], None] = lambda _step: None) -> None:
        """Encode what plain git brought since the last time, and from now on whenever it moves a ref.

        ``tell`` hears of it in a thread.
        """
        await self.git_news.begin(Work(self.options.jobs, cancelled, tell))
        self.news.changed()

    async def _take(self, feed: Feed, document: bytes) -> None:
        """What a feed gave: judged, and acted on by `keep_up` when it is news."""
        self._refusals.check(feed.text, document)
        try:
            await self.chunks.taking(document, [feed], self._take_catalogue)
        except GtfsError as e:
            self._refusals.note(feed.text, document, e)
            raise

    async def _take_catalogue(self, document: bytes) -> None:
        followed, before = has_followed(self.state), self.state.held
        if looks_like_freshness(document):
            if await self._writing.run(take_freshness, self.state, document):
                self._freshened(followed)
            return
        try:
            await self.follower.take_document(document)
        finally:  # what is held is no news any more, whatever failed and whoever hung up since
            if self.state.held is not before:
                self._tell()
                self.keep_up.is_whole |= followed
                self.news.wanted.grow()
                await self.follower.join_held()

    def _freshened(self, followed: bool) -> None:
        """What went stale meanwhile may move again."""
        self.keep_up.is_whole |= followed
        self.news.changed()
        self.news.wanted.grow()

    async def refresh(self, days: int, key: Fingerprint | None) -> Refreshed:
        """Sign that the held catalogue is still the newest; others write while somebody types a passphrase."""
        followed = has_followed(self.state)
        drawn = await self._writing.run(draw_freshness, self.state, days, key)
        if isinstance(drawn, Refreshed):
            return drawn
        document = await trio.to_thread.run_sync(drawn.sign)
        done = await self._writing.run(keep_freshness, self.state, drawn, document)
        if done.is_new:
            self._freshened(followed and self.state.config.sign_key() is None)
        return done

    async def _asked_refresh(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        key = request.get("key")
        done = await self.refresh(request["days"], None if key is None else parse_fingerprint(key))
        return describe_refreshed(self.state, done)

    async def _take_copied(self, document: bytes) -> None:
        take = partial(self.chunks.taking, feeds=self.poller.feeds, take=self._take_catalogue)
        await take_copied(self.state, self.reel_torrents, take, self.attesters.take, document)

    async def _move_refs(self) -> None:
        if has_followed(self.state):  # else a sync moves them, once it has brought what they reach
            await self.follower.move_refs()

    async def reread(self) -> None:
        """Take up what has changed in the settings and the keyring; raises what `State.reread` does, and `BadFeed`."""
        before = {parse_feed(text) for text in self.state.config.get_all("source")}
        await self._writing.run(self.state.reread)
        now = [parse_feed(text) for text in self.state.config.get_all("source")]
        self.poller.use(dict.fromkeys([*(f for f in self.options.feeds if f not in before), *now]))
        self.attesters.reread()
        self.ring_news.look_soon()
        self._tell()
        self._judge_again()
        self.publishing.look_again()
        self.news.moved.wake()

    def _tell(self) -> None:
        """There may be another catalogue: others hear of it."""
        self.pointer.renew()
        self.bell.renew()

    async def _has_published(self) -> None:
        """The new reels are seeded at once; a ref that goes back to where it was before this is seen to have moved."""
        self.news.changed()
        self._tell()
        await self.follower.join_held()
        await self.git_news.look()

    async def sync(self, tell: Callable[[Progress], None]) -> SyncReport:
        """Fetch, let in and move refs, to the end."""
        return await self.follower.sync(tell, stall_s=self.options.stall_s)

    async def _asked_init(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Settings that the caller has looked at: written, and acted on from now on."""
        done = await self._writing.run(answer_init, self.state, request)
        with trio.CancelScope(shield=True):  # whoever hangs up has them written all the same
            await self.reread()
        return done

    async def sync_once(self, tell: Tell) -> dict[str, Any]:
        """Ask the feeds, then sync; what `gtfs sync` shows."""
        async with open_shown_progress(self.session, tell) as shown, open_flat_nursery() as nursery:
            await self.ask_feeds()
            if self._cache is not None:
                nursery.start_soon(self._cache.trim_task)
            report = await self.sync(shown.show)
            nursery.cancel_scope.cancel()
        if self._cache is not None:
            await self._cache.trim()
        fetched = await shown.fetched_bytes()
        version = None if self.state.held is None else self.state.held.catalogue.version
        feeds, races = describe_feeds(self.poller.reports()), describe_races(self.state)
        return {**describe_sync(report), "version": version, "fetched": fetched, "feeds": feeds, "races": races}

    async def ask_feeds(self) -> None:
        """Ask every feed once, whatever was refused before; `FeedPoller.reports` tells what came of it."""
        await self.ring_news.look()
        self._refusals.judge_again()
        await self.poller.poll_once()
        await self.attesters.poll_once()

    async def asked_sync(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        if files := [Path(file) for file in texts_in(request, "keyrings")]:
            await self._writing.run(first_trust, self.state, TrustGiven(files), None)
        self.attesters.use(map(parse_attester, texts_in(request, "attesters")))
        try:
            return await self.sync_once(tell)
        finally:  # whoever asks for the status next, or reads a checkout, shall not find refs that have moved
            await self.worktrees.look()
            await self.git_news.look()

    async def _asked_trust(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        done = await self._writing.run(answer_trust, self.state, request)
        if request["verb"] != "list":
            self.ring_news.look_soon()
            self._judge_again()
        return done

    async def _asked_verify(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        return await self._writing.run(explain, self.state, request["what"])

    def _judge_again(self) -> None:
        """What was refused may be good by another ring, or policy."""
        self._refusals.judge_again()
        self.divergence.is_old = True
        self.news.git.wake()
        self.news.wanted.grow()

    async def _asked_torrents(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        return await hand_out(
            self.state, self.packs, Path(request["out"]), request["trackers"], with_packs=request["packs"], tell=tell
        )

    async def _asked_status(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        await refresh_traffic(self.reel_torrents.torrents())
        if self.session is not None:
            await self.session.refresh()
        return await self.recent_status()

    async def recent_status(self) -> dict[str, Any]:
        """The same as `status` with the connections of this moment; counters are as of the last second."""
        self._connections = await describe_connections(self.reel_torrents.torrents())
        return self._with_running(*await self._state_look.look())

    def status(self) -> dict[str, Any]:
        """The node as gtfs(1) documents it under ``status``; from memory and the index, at once."""
        return self._with_running(*self._state_look.now())

    def _with_running(self, out: dict[str, Any], rows: list[ReelRow]) -> dict[str, Any]:
        out["hooks"]["running"] = self.hooks.running
        out["swarm"] = describe_swarm(self.session, self.reel_torrents, rows, self._connections)
        if self._cache is not None:
            out["swarm"]["cache"] = self._cache.status()
        out |= {"feeds": describe_feeds(self.poller.reports()), "feed_error": self.event_hooks.feed_error}
        out |= {"attesters": self.attesters.describe(), "pointer": self.pointer.status(), "bell": self.bell.status()}
        out |= {"incoming": self.written.statistics(), "following": self.keep_up.describe()}
        out |= {"running": True, "started": self._started_s, "worktrees": self.worktrees.describe()}
        return out

    async def run_task(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Everything that goes on while the node lives."""
        handlers = self.publishing.handlers()
        handlers |= {"sync": self.asked_sync, "status": self._asked_status, "trust": self._asked_trust}
        handlers |= {"foresee_sync": self.foresight.asked, "refresh": self._asked_refresh, "init": self._asked_init}
        handlers |= {"torrents": self._asked_torrents, "verify": self._asked_verify, "mirror": self.worktrees.asked}
        handlers |= {"offer": self.git_news.asked_offer, "drain": self.written.asked_drain}
        handlers |= {"check": Checks(self.state, self.reel_torrents).asked_check}
        for name in ("draft", "place", "complete", "rewind", "refresh", "trust", "init"):
            handlers[name] = seen_after(handlers[name], self.git_news.look, self.event_hooks.write_feed)
        await self.follower.join()  # a catalogue may have been taken without
        async with trio.open_nursery() as nursery:
            if self.state.read_only:
                self.packs.now_listed()
                nursery.start_soon(self.git_news.watch_task)
                task_status.started()
                return
            nursery.start_soon(answer_task, listen(self.state.repository.state_directory), handlers)
            nursery.start_soon(self.git_news.watch_task)
            nursery.start_soon(self.written.ingest_task)
            nursery.start_soon(self.written.look_again_task)
            nursery.start_soon(self.packs.forget_task)
            nursery.start_soon(self.reel_torrents.run_task)
            nursery.start_soon(self.keep_up.run_task)
            nursery.start_soon(self.keep_up.end_listing_task)
            nursery.start_soon(self.poller.poll_task)
            nursery.start_soon(self.attesters.run_task)
            nursery.start_soon(self.pointer.announce_task)
            nursery.start_soon(self.bell.run_task)
            nursery.start_soon(self.upkeep.run_task)
            nursery.start_soon(self.ring_news.watch_task)
            nursery.start_soon(self.publishing.run_task)
            nursery.start_soon(self.worktrees.run_task)
            nursery.start_soon(self.hooks.run_task)
            nursery.start_soon(self.event_hooks.run_task)
            if self._cache is not None:
                nursery.start_soon(self._cache.run_task)
            task_status.started()


@asynccontextmanager
async def open_node(
    state: State,
    options: NodeOptions,
    session: Session | None = None,
    first: FirstTrust | None = None,
    shared: Shared | None = None,
) -> AsyncIterator[Node]:
    """A node on an open state: refs re-asserted, session up, its whole reels seeded; its tasks are the caller's to run.

    Nodes of a process share one ``session``, which the node's torrents leave at its end, and what is ``shared``; else
    the node opens its own. ``first`` None: no
    catalogue is believed before one is held. Raises `ListenRefused` for a port that is taken.
    """
    if state.read_only:
        options, session = replace(options, offline=True), None
    else:
        await reassert_refs(state)
    async with contextlib.AsyncExitStack() as stack:
        shared = await stack.enter_async_context(open_shared(options.proxy, shared))
        if session is None and not options.offline:
            session = await stack.enter_async_context(open_session(options.swarm))
        elif session is not None:  # others go on using it
            stack.push_async_callback(leave_below, session, state.layout.root)
            stack.callback(session.doors.close, state.layout.root)
        node = Node(state, session, shared, options, first or FirstTrust())
        stack.callback(node.packs.close)
        await trio.to_thread.run_sync(node.divergence.try_look)
        if not state.read_only:
            await node.reel_torrents.mend()
        try:
            await node.reel_torrents.update()
        except OSError as error:  # a full disk, most likely: what is here can be read, and `KeepUp` tries again
            log.error("not all reels are in the swarm: %s", error)
            node.news.wanted.grow()
        yield node
