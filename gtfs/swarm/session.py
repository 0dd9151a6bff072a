# SPDX-License-Identifier: GPL-3.0-or-later
"""The one libtorrent session of a process: opened, fed with reels, and closed in the right order.

It decides nothing about what to fetch or trust: specs come from the node. Trio loop only; libtorrent wakes the loop
through a socket, and its destructor runs in a thread.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from gtfs.errors import GtfsError
from gtfs.ids import InfoHash
from gtfs.swarm import alerts
from gtfs.swarm.adding import AddPlan, clear_staging, plan_add, probe_params
from gtfs.swarm.addresses import AddressBook, is_ours
from gtfs.swarm.amnesty import Amnesty
from gtfs.swarm.connecting import Connecting
from gtfs.swarm.dht import Dht
from gtfs.swarm.dialling import Dialling
from gtfs.swarm.doors import Doors
from gtfs.swarm.groups import only_error
from gtfs.swarm.link import ANSWER_S, Link, drop
from gtfs.swarm.listening import Listener, ListenRefused
from gtfs.swarm.lostanswers import LostAnswers
from gtfs.swarm.membership import Membership
from gtfs.swarm.pieces import SessionClosed, SwarmError, SwarmTimeout
from gtfs.swarm.preparing import prepare
from gtfs.swarm.probe import Probe, info_of_present, learn_info
from gtfs.swarm.rendezvous import make_peer_id
from gtfs.swarm.samereel import is_proved_false, is_same_reel, lend
from gtfs.swarm.saving import Saving
from gtfs.swarm.settings import SwarmOptions, make_session
from gtfs.swarm.shares import Shares
from gtfs.swarm.slots import Slots
from gtfs.swarm.spec import SwarmStatistics
from gtfs.swarm.torrents import Torrent, TorrentSpec
from gtfs.swarm.wholepeers import WholePeers

__all__ = ["ListenRefused", "Session", "SwarmOptions", "SwarmStatistics", "TorrentSpec", "open_session"]

log = logging.getLogger(__name__)

DISK_THREADS = 4
TICK_S = 1.0
TICKS_AT_REST = 30  # a daemon has tens of thousands of torrents that are whole
CLOSING_S = 15.0  # how long the end of a session may take to keep resume data


class Session:
    """A running session; made by `open_session`."""

    def __init__(self, options: SwarmOptions, nursery: trio.Nursery) -> None:
        self.options = options
        self._nursery = nursery
        self._disk = trio.CapacityLimiter(DISK_THREADS)
        self._torrents: dict[InfoHash, Torrent] = {}
        self._probes: dict[InfoHash, Probe] = {}
        self.doors = Doors(options, lambda: self._lt)
        self._addresses = AddressBook()
        self._addresses.add(options.peers)
        self._counters = alerts.Counters(0, 0, 0)
        self._counted = trio.Event()
        self.peer_id = make_peer_id(options.seeks_seeds)
        self.listener = Listener(options)
        self._dialling = Dialling(self._addresses, options.peers)
        self._shares = Shares(self.peer_id, self.torrents, Slots(lambda: self._lt))
        self.dht = Dht(options, self.listener.dht_nodes, self._addresses)
        self._membership = Membership(options, self.dht, self._links, self._lonely)
        self.whole_peers = WholePeers(self.torrents, lambda: self._counters.peers, dials=options.seeks_seeds)
        self._unanswered: set[InfoHash] = set()  # torrents that libtorrent may still take, or has to let go of
        self._connecting = Connecting()
        self._saving = Saving(self.torrents)
        self.is_ending = False  # its maker is about to close it: nothing needs to be taken out before
        self._is_closed = False
        self._pump_scope = trio.CancelScope(shield=True)
        self._pump_ended = trio.Event()
        self._lt: Any = None
        given = self._unanswered, self._probes, self.doors
        self._lost_answers = LostAnswers(*given, lambda: self._lt, self._dispatch_torrent)

    # For the node

    @property
    def port(self) -> int:
        """The port that peers reach us on, 0 behind a proxy; the DHT has the same one in UDP."""
        return self.listener.port

    @property
    def disk(self) -> trio.CapacityLimiter:
        """Threads that read and write what belongs to its torrents."""
        return self._disk

    def statistics(self) -> SwarmStatistics:
        """The counters as of the last second; `refresh` asks for those of this moment."""
        counted = self._counters
        return SwarmStatistics(counted.downloaded_bytes, counted.uploaded_bytes, counted.peers)

    async def refresh(self) -> SwarmStatistics:
        """The counters of this moment."""
        self._check_open()
        counted = self._counted
        self._lt.post_session_stats()
        with trio.move_on_after(ANSWER_S):
            await counted.wait()
        return self.statistics()

    def torrents(self) -> tuple[Torrent, ...]:
        """Every torrent of the session; a dead one stays, with its failure, until it is removed."""
        return tuple(self._torrents.values())

    def torrent(self, infohash: InfoHash) -> Torrent | None:
        """The torrent with this infohash, if it was added."""
        return self._torrents.get(infohash)

    async def add(self, spec: TorrentSpec) -> Torrent:
        """Put a reel into the swarm; its metadata may still have to come from peers.

        The same reel again, in another place too, gives the same torrent. Raises `SwarmError` when another reel, not
        proved false, has the infohash or when a ``complete`` reel is not there, or libtorrent takes too long,
        `BadMetainfo`, `SessionClosed`, OSError.
        """
        self._check_open()
        while (present := self._torrents.get(spec.infohash)) is not None:
            if not is_same_reel(present.spec, spec):
                if not await is_proved_false(present, spec, self._disk):
                    raise SwarmError(f"{spec.file_name}: its infohash {spec.infohash.hex()} is in the session already")
                if self._torrents.get(spec.infohash) is present:
                    await self.remove(spec.infohash)
                continue
            await present.milestones.entered.wait()
            if isinstance(present.failure, SessionClosed):  # it is being taken out
                self._check_open()
                await present.milestones.gone.wait()
                self._check_open()
                continue
            present.board.check()
            if present.spec.path != spec.path:
                await lend(present, spec)
            return present
        # Entered before the first await, so that a second caller finds it.
        told = replace(spec, trackers=tuple(dict.fromkeys((*spec.trackers, *self.options.trackers))))
        torrent = self._torrents[spec.infohash] = Torrent(told, self._disk, self._shares.begin)
        try:
            await self._enter(torrent)
        except BaseException as error:
            self._torrents.pop(spec.infohash, None)
            torrent.milestones.fail(
                error if isinstance(error, GtfsError) else SwarmError(f"{spec.file_name} was not added")
            )
            raise
        return torrent

    async def remove(self, infohash: InfoHash) -> None:
        """Take a torrent out, even if the caller is cancelled; its resume data is kept, its files stay.

        Whoever waits for it gets `SessionClosed`. `Milestones.gone` tells others who had it when they may put it in
        again. Raises `SessionClosed`.
        """
        torrent = await self.take_out(infohash)
        if torrent is not None:
            torrent.milestones.gone.set()

    async def take_out(self, infohash: InfoHash) -> Torrent | None:
        """The same for who puts it in again at once, and sets `Milestones.gone` then; gives what it was."""
        self._check_open()
        torrent = self._torrents.get(infohash)
        if torrent is None:
            return None
        with trio.CancelScope(shield=True):  # half out, nobody could put it in again
            await self._saving.save(torrent)
            torrent.milestones.fail(SessionClosed(f"{torrent.spec.file_name} was taken out of the swarm"))
            await self._drop(torrent)
            await torrent.wait_unchanged()
            if self._torrents.get(infohash) is torrent:
                del self._torrents[infohash]
        return torrent

    async def learn_info(self, infohash: InfoHash, staging: Path, *, deadline_s: float) -> bytes:
        """The info dictionary of a torrent, which need not be in the session: see `gtfs.swarm.probe`."""
        self._check_open()
        if (present := self._torrents.get(infohash)) is not None:
            return await info_of_present(present, deadline_s=deadline_s)
        self._lost_answers.check(infohash, f"torrent {infohash.hex()}")
        params = probe_params(infohash, staging, self.options)
        # Whom the user named as a DHT node is most likely one of those who have it.
        peers = partial(self._addresses.everybody, (*self.options.peers, *self.options.dht_nodes))
        params.peers = peers()  # whom libtorrent dials at once; else once a second
        kept = self._probes, self._lost_answers.is_late
        return await learn_info(self._lt, *kept, infohash, params, peers, deadline_s=deadline_s)

    def met(self) -> tuple[tuple[str, int], ...]:
        """Peers that answered when they were dialled, as ``options.peers`` of the next session."""
        return tuple(self._addresses.met())

    async def save(self) -> None:
        """Keep the resume data of whatever has changed, as is done now and then, and at the end."""
        await self._saving.save_all(self._saving.changed())

    # Torrents coming and going

    async def _enter(self, torrent: Torrent) -> None:
        self._lost_answers.check(torrent.spec.infohash, torrent.spec.file_name)
        plan = await trio.to_thread.run_sync(plan_add, torrent.spec, self.options, limiter=self._disk)
        self._check_open()
        self._addresses.add(torrent.spec.peers)
        self._unanswered.add(torrent.spec.infohash)
        self._lt.async_add_torrent(plan.params)
        # Shielded: half added, nobody would take it out again.
        with trio.move_on_after(ANSWER_S, shield=True):
            await torrent.milestones.entered.wait()
        if not torrent.milestones.entered.is_set():
            raise SwarmTimeout(f"{torrent.spec.file_name}: libtorrent did not take it within {ANSWER_S:g} s")
        torrent.board.check()
        self._dialling.tell(torrent)
        self._nursery.start_soon(self._prepare_task, torrent, plan)

    async def _prepare_task(self, torrent: Torrent, plan: AddPlan) -> None:
        try:
            await prepare(torrent, plan.hashes, self._disk)
        except GtfsError as error:
            if torrent.failure is None:
                log.error("%s", error)
                torrent.milestones.fail(error)
                await self._drop(torrent)
                await trio.to_thread.run_sync(clear_staging, torrent.spec, limiter=self._disk)

    async def _drop(self, torrent: Torrent) -> None:
        if torrent.link.handle is None or self._is_closed:
            return
        if not torrent.milestones.is_leaving:
            torrent.milestones.is_leaving = True
            drop(self._lt, torrent.link.handle)
        with trio.move_on_after(ANSWER_S, shield=True):
            await torrent.milestones.left.wait()
        if not torrent.milestones.left.is_set():
            self._lost_answers.is_late(torrent.spec.infohash)

    def _links(self) -> list[Link]:
        return [torrent.link for torrent in self.torrents()]

    def _lonely(self) -> dict[InfoHash, Link]:
        waiting = {infohash: probe.link for infohash, probe in self._probes.items() if not probe.has_info.is_set()}
        return waiting | {torrent.spec.infohash: torrent.link for torrent in self.torrents() if torrent.is_lonely()}

    # Tasks

    async def _pump_task(self, wake: socket.socket) -> None:
        # Shielded: the end of the session still has questions when everything around it is being cancelled.
        try:
            with self._pump_scope:
                while True:
                    for event in alerts.pop_events(self._lt):
                        self._dispatch(event)
                    await trio.lowlevel.wait_readable(wake)
                    with suppress(BlockingIOError):
                        wake.recv(4096)
        finally:
            self._pump_ended.set()

    def _dispatch(self, event: alerts.Event) -> None:
        match event:
            case alerts.Listening() | alerts.ListenFailed():
                self.listener.on_event(event)
            case alerts.FalseMetadata(infohash=infohash):
                if infohash in self._torrents:
                    self._connecting.deceived(self._torrents[infohash])
            case alerts.PeerConnected(address=address, port=port, dialled=dialled):
                self._connecting.made((address, port))
                if dialled and not (port == self.port and is_ours(address)):
                    self._addresses.meet((address, port))
            case alerts.Counters():
                self._counters = event
                self._membership.on_nodes(event.dht_nodes)
                self._counted.set()
                self._counted = trio.Event()
            case alerts.StatusUpdate(torrents=updates):
                for update in updates:
                    self._dispatch_torrent(update)
            case alerts.AlertsDropped():
                log.warning("libtorrent's alert queue overflowed; asking again")
                for torrent in self._torrents.values():
                    torrent.reports.on_dropped()
                self._lost_answers.look()
            case _:
                self._dispatch_torrent(event)

    def _dispatch_torrent(self, event: alerts.TorrentEvent) -> None:
        if isinstance(event, alerts.Added | alerts.Removed):
            self._unanswered.discard(event.infohash)
        if event.infohash in self._torrents:
            self._torrents[event.infohash].reports.on_event(event)
        elif event.infohash in self._probes:
            self._probes[event.infohash].on_event(event)
            if isinstance(event, alerts.Added):
                self._membership.hurry()
        elif isinstance(event, alerts.Added) and not self.doors.takes(event) and event.error is None:
            # Nobody's: it could never be added any more, where libtorrent took it later than who added it waited.
            is_going = drop(self._lt, event.handle)
            if is_going:
                self._unanswered.add(event.infohash)  # that it has gone would be taken for the next one's

    async def _tick_task(self) -> None:
        rounds = 0
        while True:
            await trio.sleep(TICK_S)
            if self._is_closed:
                return
            self._lt.post_torrent_updates(0)
            self._lt.post_session_stats()
            rounds += 1
            lively = [torrent for torrent in self.torrents() if not torrent.is_at_rest()]
            for torrent in lively if rounds % TICKS_AT_REST else self.torrents():
                torrent.tick()
            is_probing = any(not probe.has_info.is_set() for probe in self._probes.values())
            self._dialling.tick(self._lt, lively, self.torrents, is_probing=is_probing)

    # Opening and closing

    async def _open(self, wake: socket.socket, alarm: socket.socket) -> None:
        listen = await self.listener.choose()
        self._lt = await trio.to_thread.run_sync(make_session, self.options, listen, self.peer_id)
        self._lt.set_alert_fd(alarm.fileno())
        self._nursery.start_soon(self._pump_task, wake)
        await self.listener.wait(self._lt, listen)
        tasks = [self._tick_task, self._addresses.look_up_task, self._saving.run_task]
        tasks += [part.run_task for part in (self._shares, self.whole_peers, self._connecting, self._lost_answers)]
        for task in tasks:
            self._nursery.start_soon(task)
        self._nursery.start_soon(self._membership.run_task, lambda: self._lt)
        self._nursery.start_soon(Amnesty(lambda: self._lt, self.torrents).run_task)

    async def _close(self) -> None:
        """Readers first, then what must be kept, then libtorrent; design.md §11 has the reason of the second."""
        self._is_closed = True
        to_save = self._saving.changed()
        reason = SessionClosed("the swarm session was closed")
        for torrent in self.torrents():
            torrent.milestones.end_waits(reason)
        for probe in self._probes.values():
            probe.end_waits(reason)
        if self._lt is None:
            return
        with trio.move_on_after(CLOSING_S):
            await self._saving.save_all(to_save)
        for torrent in self.torrents():
            torrent.milestones.fail(reason)
        self._pump_scope.cancel()
        await self._pump_ended.wait()
        for torrent in self.torrents():
            torrent.milestones.left.set()  # nobody is left to report it
        # Connections that the destructor itself ends make it wait for a turn more: a tenth of a second.
        self._lt.pause()
        # The last reference goes in a thread: the destructor waits for libtorrent's threads.
        last, self._lt = [self._lt], None
        await trio.to_thread.run_sync(last.clear)

    def _check_open(self) -> None:
        if self._is_closed:
            raise SessionClosed("the swarm session was closed")


@asynccontextmanager
async def open_session(options: SwarmOptions | None = None) -> AsyncIterator[Session]:
    """Open the session; at the end every wait is ended, resume data is kept and libtorrent is gone.

    Raises `ListenRefused`. An error of the body comes out as itself, not in a group.
    """
    wake, alarm = socket.socketpair()
    try:
        with closing(wake), closing(alarm):
            wake.setblocking(False)
            alarm.setblocking(False)
            async with trio.open_nursery() as nursery:
                session = Session(options or SwarmOptions(), nursery)
                try:
                    await session._open(wake, alarm)
                    yield session
                finally:
                    try:
                        with trio.CancelScope(shield=True):
                            await session._close()
                    finally:  # Ctrl-C may come here once more: the pump, which is shielded, must not outlive it
                        session._pump_scope.cancel()
                        nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise only_error(group) from None
