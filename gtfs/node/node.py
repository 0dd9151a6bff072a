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
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

from gtfs.catalogue.accept import FirstTrust, is_stale
from gtfs.errors import GtfsError
from gtfs.ids import ObjectId
from gtfs.ingest.refmoves import reassert
from gtfs.mount.tree import NotLocal
from gtfs.node.control import Tell, answer_task, listen
from gtfs.node.follow import Follower, Progress, SyncReport, cancelled
from gtfs.node.publish import publish_now
from gtfs.node.reels import Reels
from gtfs.node.shelf import Shelf
from gtfs.node.sink import Sink
from gtfs.node.state import State
from gtfs.node.store import Store
from gtfs.reel.index import ReelRow
from gtfs.repo.history import OWN_REFS, read_refs
from gtfs.swarm.feeds import Feed, FeedError, FeedPoller, open_client
from gtfs.swarm.session import Session, SwarmOptions, open_session

log = logging.getLogger(__name__)

_REFS_S = 5.0  # how often refs that plain git moved are noticed
_REFS_LEAST_S = 0.5  # between two looks, however much is going on


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
    jobs: int | None = None  # processes that encode; None: one for each core


class Node:
    """A running node; made by `open_node`."""

    def __init__(self, state: State, session: Session | None, client: httpx.AsyncClient, options: NodeOptions) -> None:
        self.state = state
        self.options = options
        self.session = session
        self._writing = trio.CapacityLimiter(1)
        self.reels = Reels(state, session, options.read_timeout_s)
        self.store = Store(state, self.reels)
        self.shelf = Shelf(state, self.store, self.status, self._read_reel)
        self.sink = Sink(state, self._writing, self._packs_changed)
        self.follower = Follower(state, self.reels, self.store, self._writing, options.first, self._changed)
        self.poller = FeedPoller(options.feeds, self._take, client, interval_s=options.poll_s)
        self.on_packs_changed: Callable[[list[ObjectId]], None] = lambda _oids: None
        self._refs_stale = trio.Event()
        self._news = trio.Event()
        self._keep_whole = options.prefetch
        self._refusals: dict[str, tuple[str, int]] = {}  # why a feed's document was not taken, and its exit code
        if options.prefetch:
            self._news.set()

    def _changed(self) -> None:
        self.store.forget_reels()
        self._refs_stale.set()

    def _packs_changed(self, oids: list[ObjectId]) -> None:
        self._changed()
        self.on_packs_changed(oids)

    async def _read_reel(self, row: ReelRow, offset: int, length: int) -> bytes:
        torrent = self.reels.reel(row.id)
        if torrent is None:
            raise NotLocal
        return await self.reels.read(torrent, offset, length, 0)

    async def take_up(self, begin: Callable[[int], None], progress: Callable[[int, int], None]) -> None:
        """Encode what plain git brought since the last time."""

        def work() -> None:
            self.state.take_up(jobs=self.options.jobs, stop=cancelled, begin=begin, progress=progress)

        await trio.to_thread.run_sync(work, limiter=self._writing)
        self._changed()

    async def _take(self, feed: Feed, document: bytes) -> None:
        """What a feed gave: judged, and acted on by `_follow_task` when it is news."""
        followed = self._has_followed()
        try:
            is_news = await self.follower.take_document(document)
        except GtfsError as e:
            refusal = (str(e), e.exit_code)
            if self._refusals.get(feed.text) != refusal:  # it is asked for again and again
                log.warning("feed %s: %s", feed.text, e)
            self._refusals[feed.text] = refusal
            raise
        if is_news:
            self._keep_whole = self._keep_whole or followed
            self._news.set()

    async def _follow_task(self) -> None:
        """Fetch what a newer catalogue brings: its tables, and all of it on a mirror that was whole before."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            try:
                await self.follower.bring_tables(self.options.table_s)
                if self._keep_whole:
                    await self.sync(lambda _p: None)
            except (GtfsError, OSError) as e:
                log.error("the new catalogue could not be followed yet: %s", e)

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
        await self.reels.update()
        return result

    async def sync(self, tell: Callable[[Progress], None]) -> SyncReport:
        """Fetch, let in and move refs, to the end."""
        return await self.follower.sync(tell)

    async def _asked_publish(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        return await self.publish(bool(request.get("force")), request.get("jobs") or self.options.jobs, tell)

    async def sync_once(self, tell: Tell) -> dict[str, Any]:
        """Ask the feeds, then sync; what `gtfs sync` shows."""
        before = await self._received_bytes()
        await self.poller.poll_once()
        report = await self.sync(lambda p: tell(describe_progress(p)))
        fetched = await self._received_bytes() - before
        return {**describe_sync(report), "fetched": fetched, "feeds": self._feeds()}

    async def _received_bytes(self) -> int:
        return 0 if self.session is None else (await self.session.refresh()).downloaded_bytes

    async def _asked_sync(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        return await self.sync_once(tell)

    async def _asked_status(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        await self.reels.refresh()
        if self.session is not None:
            await self.session.refresh()
        return self.status()

    async def _refs_task(self) -> None:
        while True:
            self._refs_stale = trio.Event()
            refs = await trio.to_thread.run_sync(read_refs, self.state.repository)
            self.shelf.show_refs({r.name: r.oid for r in refs if not r.name.startswith(OWN_REFS)})
            await trio.sleep(_REFS_LEAST_S)
            with trio.move_on_after(_REFS_S):
                await self._refs_stale.wait()

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
            "reels": self.reels.traffic(),
        }
        out["feeds"] = self._feeds()
        out["incoming"] = self.sink.statistics()
        out["running"] = True
        return out

    async def run_task(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Everything that goes on while the node lives."""
        handlers = {"publish": self._asked_publish, "sync": self._asked_sync, "status": self._asked_status}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_task, listen(self.state.repository.state), handlers)
            nursery.start_soon(self._refs_task)
            nursery.start_soon(self.sink.ingest_task)
            nursery.start_soon(self._follow_task)
            nursery.start_soon(self.poller.poll_task)
            task_status.started()


@asynccontextmanager
async def open_node(state: State, options: NodeOptions) -> AsyncIterator[Node]:
    """A node on an open state: refs re-asserted, session up, its whole reels seeded; its tasks are the caller's to run.

    Raises `ListenRefused` for a port that is taken.
    """
    await trio.to_thread.run_sync(reassert, state.repository, state.index)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client())
        session = None
        if options.swarm is not None:
            session = await stack.enter_async_context(open_session(options.swarm))
        node = Node(state, session, client, options)
        await node.reels.update()
        yield node


def describe_state(state: State) -> dict[str, Any]:
    """The part of the status that needs no running node."""
    held = state.held
    out: dict[str, Any] = {
        "repository": str(state.repository.path),
        "object_format": state.repository.fmt.name,
        "packs": {"known": state.index.count(), "bytes": state.index.total_bytes(), **state.index.count_by_state()},
        "unencodable": len(state.index.unencodable()),
        "reels": len(state.index.reels()),
        "quarantine": [{"file": r.path.name, "reason": r.reason} for r in state.quarantine.refused()],
        "policy": "local" if held is None and state.keyring is None else "catalogue" if held else "keyring",
        "running": False,
    }
    if held is not None:
        c = held.catalogue
        out["catalogue"] = {
            "repository": c.repository,
            "version": c.version,
            "date": c.date_s,
            "valid_until": c.valid_until_s,
            "stale": is_stale(c, int(time.time())),
            "equivocation": c.version in state.catalogues.equivocations(),
            "signers": list(c.signers),
            "refs": len(c.refs),
            "reels": len(c.reels),
            "followed": state.index.held_refs() == c.refs,
        }
    return out


def describe_published(state: State, version: int, is_new: bool, packs: int) -> dict[str, Any]:
    """What `gtfs publish` shows."""
    reels = [r for r in state.index.reels() if r.state == "complete"]
    return {
        "version": version,
        "new": is_new,
        "packs": packs,
        "reels": [{"name": r.name, "infohash": r.infohash.hex(), "size": r.size, "packs": r.rows} for r in reels],
        "sources": [str(state.catalogues.latest), state.catalogues.latest.as_uri()],
    }


def describe_progress(p: Progress) -> dict[str, Any]:
    """A sync's progress as it goes over the control socket."""
    return {"bytes": p.bytes_here, "bytes_of": p.bytes_total, "packs": p.packs_done, "packs_of": p.packs_total}


def describe_sync(report: SyncReport) -> dict[str, Any]:
    """What `gtfs sync` shows."""
    return {
        "packs": report.packs,
        "reels": report.reels,
        "bytes": report.total_bytes,
        "refs_moved": report.refs.moved,
        "refs_held_back": {n.decode("utf-8", "replace"): r for n, r in report.refs.held_back.items()},
        "refused": {oid.hex(): reason for oid, reason in report.refused.items()},
        "waiting": report.waiting,
    }
